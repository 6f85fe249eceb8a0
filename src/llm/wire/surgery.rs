//! Edits of a JSON text that leave every other byte as it is.
//!
//! A call that leaves in the format in which it came is not written anew: what the gateway must change
//! (the name of a model, a limit, a flag) is cut out and put in, and unknown members, their order, the
//! spelling of numbers and the spaces between them stay.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::json::{Kind, Value, encode};

/// Changes to one object, put together before any of them is made.
#[derive(Debug)]
pub struct Surgery<'a> {
    root: Value<'a>,
    edits: SmallVec<[Edit<'a>; 4]>,
}

#[derive(Debug)]
struct Edit<'a> {
    path: &'a [&'a str],
    /// The JSON text to stand there; nothing to remove it.
    value: Option<Cow<'a, str>>,
}

impl<'a> Surgery<'a> {
    /// No change yet. `root` should be an object: another value comes out unchanged.
    #[must_use]
    pub fn new(root: Value<'a>) -> Self {
        Self {
            root,
            edits: SmallVec::new(),
        }
    }

    /// Puts a JSON text at a path of names. What is missing on the way is made, at the end of its object;
    /// what is there but no object is replaced.
    pub fn set(&mut self, path: &'a [&'a str], json: impl Into<Cow<'a, str>>) -> &mut Self {
        self.put(path, Some(json.into()))
    }

    /// Puts a string at a path of names.
    pub fn set_string(&mut self, path: &'a [&'a str], text: &str) -> &mut Self {
        self.set(path, format!("\"{}\"", encode(text)))
    }

    /// Removes a member and its comma.
    pub fn remove(&mut self, path: &'a [&'a str]) -> &mut Self {
        self.put(path, None)
    }

    fn put(&mut self, path: &'a [&'a str], value: Option<Cow<'a, str>>) -> &mut Self {
        // The last word about a path counts, also about what lies below it.
        self.edits.retain(|edit| !edit.path.starts_with(path));
        self.edits.push(Edit { path, value });
        self
    }

    /// Whether the text comes out as it is.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        self.edits.iter().all(|edit| {
            let mut value = Some(self.root);
            for name in edit.path {
                value = value.and_then(|value| value.member(name));
            }
            value.map(|value| value.raw()) == edit.value.as_deref()
        })
    }

    /// The text with its changes. What stands around the object stays, too.
    #[must_use]
    pub fn finish(&self, whole: &str) -> String {
        let added: usize = self
            .edits
            .iter()
            .map(|edit| 64 + edit.value.as_ref().map_or(0, |value| value.len()))
            .sum();
        let mut out = String::with_capacity(whole.len() + added);
        let span = self.root.span();
        out.push_str(&whole[..span.start]);
        let edits: SmallVec<[&Edit<'a>; 4]> = self.edits.iter().collect();
        value(&mut out, whole, self.root, &edits, 0);
        out.push_str(&whole[span.end..]);
        out
    }
}

/// Writes a value with the edits that lie in it. `depth` names of their paths are behind us.
fn value(out: &mut String, whole: &str, old: Value<'_>, edits: &[&Edit<'_>], depth: usize) {
    if edits.is_empty() || old.kind() != Kind::Object {
        out.push_str(old.raw());
        return;
    }
    let span = old.span();
    let mut done: SmallVec<[&str; 4]> = SmallVec::new();
    let mut kept = false;
    // The bytes before the next name: after the brace, then after each value with its comma.
    let mut gap = span.start + 1;
    out.push('{');
    for (key, member) in old.members() {
        let name = key.string().unwrap_or_default();
        let within: SmallVec<[&Edit<'_>; 4]> = edits
            .iter()
            .copied()
            .filter(|edit| edit.path.get(depth).is_some_and(|step| **step == *name))
            .collect();
        if let Some(first) = within.first() {
            done.push(first.path[depth]);
        }
        let exact = within.iter().find(|edit| edit.path.len() == depth + 1);
        let removed = exact.is_some_and(|edit| edit.value.is_none()) && within.len() == 1;
        if !removed {
            let between = &whole[gap..key.span().start];
            let first = !kept && gap != span.start + 1;
            // The comma before a member that is first now belonged to one that is gone.
            out.push_str(if first {
                between.split_once(',').map_or(between, |(_, rest)| rest)
            } else {
                between
            });
            kept = true;
            out.push_str(&whole[key.span().start..member.span().start]);
            let below: SmallVec<[&Edit<'_>; 4]> = within
                .iter()
                .copied()
                .filter(|edit| edit.path.len() > depth + 1)
                .collect();
            match exact.and_then(|edit| edit.value.as_deref()) {
                Some(json) => out.push_str(json),
                None if below.is_empty() || member.kind() == Kind::Object => {
                    value(out, whole, member, &below, depth + 1);
                }
                None if below.iter().any(|edit| edit.value.is_some()) => {
                    fresh(out, &below, depth + 1);
                }
                None => out.push_str(member.raw()),
            }
        }
        gap = member.span().end;
    }
    for position in 0..edits.len() {
        let edit = edits[position];
        let Some(step) = edit.path.get(depth) else {
            continue;
        };
        if done.contains(step) {
            continue;
        }
        done.push(step);
        let within: SmallVec<[&Edit<'_>; 4]> = edits
            .iter()
            .copied()
            .filter(|other| other.path.get(depth) == Some(step) && other.value.is_some())
            .collect();
        if within.is_empty() {
            continue;
        }
        if kept {
            out.push(',');
        }
        kept = true;
        named(out, step, &within, depth);
    }
    out.push_str(&whole[gap..span.end]);
}

/// Writes a member that was not there.
fn named(out: &mut String, name: &str, within: &[&Edit<'_>], depth: usize) {
    out.push('"');
    out.push_str(&encode(name));
    out.push_str("\":");
    match within.iter().find(|edit| edit.path.len() == depth + 1) {
        Some(Edit {
            value: Some(json), ..
        }) => out.push_str(json),
        _ => fresh(out, within, depth + 1),
    }
}

/// Writes an object that was not there.
fn fresh(out: &mut String, edits: &[&Edit<'_>], depth: usize) {
    out.push('{');
    let mut done: SmallVec<[&str; 4]> = SmallVec::new();
    for edit in edits {
        let Some(step) = edit.path.get(depth) else {
            continue;
        };
        if edit.value.is_none() || done.contains(step) {
            continue;
        }
        if !done.is_empty() {
            out.push(',');
        }
        done.push(step);
        let within: SmallVec<[&Edit<'_>; 4]> = edits
            .iter()
            .copied()
            .filter(|other| other.path.get(depth) == Some(step) && other.value.is_some())
            .collect();
        named(out, step, &within, depth);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::{Duplicates, Index};
    use super::*;

    fn edited(text: &str, edit: impl for<'a> FnOnce(&mut Surgery<'a>)) -> String {
        let mut index = Index::new();
        let root = index
            .read(text.as_bytes(), Duplicates::Refuse)
            .expect("JSON");
        let mut surgery = Surgery::new(root);
        edit(&mut surgery);
        surgery.finish(text)
    }

    #[test]
    fn only_what_is_named_changes() {
        let text = " { \"x\" : 1.0e+2 , \"model\":\"a\",\n \"t\": 0.10, \"y\":{\"z\":[ ]} } ";
        assert_eq!(
            edited(text, |surgery| {
                surgery.set_string(&["model"], "b\"c");
            }),
            text.replace("\"a\"", "\"b\\\"c\"")
        );
        assert_eq!(
            edited(text, |surgery| {
                surgery.remove(&["x"]);
            }),
            " {  \"model\":\"a\",\n \"t\": 0.10, \"y\":{\"z\":[ ]} } ".replacen("{  ", "{ ", 1)
        );
        assert_eq!(
            edited(text, |surgery| {
                surgery.remove(&["y"]).remove(&["missing"]);
            }),
            " { \"x\" : 1.0e+2 , \"model\":\"a\",\n \"t\": 0.10 } "
        );
    }

    #[test]
    fn members_are_made_removed_and_replaced_at_any_depth() {
        let stream: &[&str] = &["stream_options", "include_usage"];
        let cases: &[(&str, &str)] = &[
            ("{}", r#"{"stream_options":{"include_usage":true}}"#),
            ("{ }", r#"{"stream_options":{"include_usage":true} }"#),
            (
                r#"{"a":1}"#,
                r#"{"a":1,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options":null,"a":1}"#,
                r#"{"stream_options":{"include_usage":true},"a":1}"#,
            ),
            (
                r#"{"stream_options":{"x":1}}"#,
                r#"{"stream_options":{"x":1,"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":false,"x":1}}"#,
                r#"{"stream_options":{"include_usage":true,"x":1}}"#,
            ),
        ];
        for (text, expected) in cases {
            let told = edited(text, |surgery| {
                surgery.set(stream, "true");
            });
            assert_eq!(told, *expected);
        }
        assert_eq!(
            edited(r#"{"a":1,"b":2,"c":3}"#, |surgery| {
                surgery.remove(&["a"]).remove(&["b"]).remove(&["c"]);
                surgery
                    .set(&["d"], "4")
                    .set(&["e", "f"], "5")
                    .set(&["e", "g"], "6");
            }),
            r#"{"d":4,"e":{"f":5,"g":6}}"#
        );
        assert_eq!(
            edited(r#"{"mod\u0065l":"a"}"#, |surgery| {
                surgery.set_string(&["model"], "b");
            }),
            r#"{"mod\u0065l":"b"}"#
        );
        assert_eq!(
            edited("[1]", |surgery| {
                surgery.remove(&["a"]);
            }),
            "[1]"
        );
    }

    #[test]
    fn it_is_told_when_nothing_changes() {
        let mut index = Index::new();
        let text = br#"{"model":"a","s":{"u":true}}"#;
        let root = index.read(text, Duplicates::Refuse).expect("JSON");
        let mut surgery = Surgery::new(root);
        surgery
            .set_string(&["model"], "a")
            .set(&["s", "u"], "true")
            .remove(&["x"]);
        assert!(surgery.changes_nothing());
        surgery.remove(&["model"]);
        assert!(!surgery.changes_nothing());
    }

    proptest! {
        #[test]
        fn the_result_is_what_an_edit_of_values_gives(
            members in proptest::collection::btree_map("[a-f]", "[ \t\n]{0,2}(1\\.50|\"x\\\\n\"|\\{ \"a\" : 2 \\}|\\{\\}|null|\\[1, 2\\])[ \n]{0,2}", 0..6),
            edits in proptest::collection::vec(("[a-f]", proptest::option::of("[a-c]"), proptest::option::of(0_u8..9)), 0..5),
            space in "[ \n]{0,2}",
        ) {
            let inside: Vec<String> = members.iter().map(|(name, value)| format!("{space}\"{name}\"{space}:{value}")).collect();
            let text = format!("{{{}{space}}}", inside.join(","));
            let paths: Vec<(Vec<&str>, Option<String>)> = edits
                .iter()
                .map(|(first, second, value)| {
                    let mut path = vec![first.as_str()];
                    path.extend(second.as_deref());
                    (path, value.map(|value| value.to_string()))
                })
                .collect();
            let mut index = Index::new();
            let root = index.read(text.as_bytes(), Duplicates::Refuse).expect("JSON");
            let mut surgery = Surgery::new(root);
            let mut expected: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let mut made: Vec<&[&str]> = Vec::new();
            for (path, value) in &paths {
                // What several edits of one place do together is another test's.
                if made.iter().any(|other| path.starts_with(other) || other.starts_with(path)) {
                    continue;
                }
                made.push(path);
                match value {
                    Some(value) => surgery.set(path, value.as_str()),
                    None => surgery.remove(path),
                };
                let object = expected.as_object_mut().expect("an object");
                match (path.as_slice(), value) {
                    ([name], Some(value)) => { object.insert((*name).to_owned(), serde_json::from_str(value).expect("JSON")); }
                    ([name], None) => { object.remove(*name); }
                    ([name, inner], Some(value)) => {
                        let below = object.entry(*name).or_insert(serde_json::Value::Null);
                        if !below.is_object() {
                            *below = serde_json::json!({});
                        }
                        below[*inner] = serde_json::from_str(value).expect("JSON");
                    }
                    ([name, inner], None) => {
                        if let Some(below) = object.get_mut(*name).and_then(|below| below.as_object_mut()) {
                            below.remove(*inner);
                        }
                    }
                    _ => {}
                }
            }
            let told = surgery.finish(&text);
            let told_value: serde_json::Value = serde_json::from_str(&told)
                .unwrap_or_else(|error| panic!("{text} became {told}: {error}"));
            prop_assert_eq!(told_value, expected);
            if paths.is_empty() {
                prop_assert_eq!(&told, &text);
            }
        }

        #[test]
        fn a_new_model_changes_the_model_alone(before in "[ -~]{0,40}", after in "[ -~]{0,40}", new in "[ -~]{1,20}") {
            let quoted = |text: &str| serde_json::to_string(text).expect("JSON");
            let text = format!("{{ \"a\" :{}, \"model\" : \"old\",\"b\":{} }}\n", quoted(&before), quoted(&after));
            let told = edited(&text, |surgery| { surgery.set_string(&["model"], &new); });
            prop_assert_eq!(told, text.replacen("\"old\"", &quoted(&new), 1));
        }
    }
}
