//! `set`, `rewrite`, `return`, `break`, `if`: the steps of the rewrite phase, in the order written.
//!
//! Owns the reading of conditions and flags; running the steps is `route::rewrite`. The settings
//! that hold inside of an `if` are made by the caller.

use std::sync::Arc;

use super::{Cx, names};
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::include::{Node, Word};
use crate::conf::typed::location::{
    Condition, FileTest, Return, Rewrite, RewriteFlag, Settings, Statement,
};
use crate::conf::variable::{Core, Variable};
use crate::unit;

/// Makes the settings that hold inside of an `if {}`; `None` in an `if` of a server, where the
/// location is not known yet.
pub type SettingsOfIf<'a> = &'a mut dyn FnMut(&mut Cx, &Node) -> Option<Arc<Settings>>;

/// The steps that stand directly in a block, those of its `if` blocks included; all other
/// directives are passed over.
pub fn statements(block: &[Node], cx: &mut Cx, settings_of_if: SettingsOfIf<'_>) -> Vec<Statement> {
    let mut statements = Vec::new();
    for node in block {
        let statement = match &*node.name.text {
            "set" => set(node, cx),
            "rewrite" => rewrite(node, cx),
            "return" => returns(node, cx),
            "break" => Some(Statement::Break),
            "if" => {
                let condition = condition(node, cx);
                let inside = node.block.as_deref().unwrap_or_default();
                let settings = settings_of_if(cx, node);
                let statements = self::statements(inside, cx, settings_of_if);
                condition.map(|condition| Statement::If {
                    condition,
                    statements,
                    settings,
                })
            }
            _ => None,
        };
        statements.extend(statement);
    }
    statements
}

/// Starts an address rather than a path (nginx `ngx_http_rewrite`, `ngx_http_rewrite_return`).
fn is_address(text: &str) -> bool {
    ["http://", "https://", "$scheme"]
        .iter()
        .any(|start| text.starts_with(start))
}

fn set(node: &Node, cx: &mut Cx) -> Option<Statement> {
    let [name, value] = node.arguments.as_slice() else {
        return None;
    };
    let variable = defined(name, cx);
    let value = cx.template(value);
    match variable? {
        variable @ (Variable::Slot(_)
        | Variable::Core(Core::Args)
        | Variable::Core(Core::LimitRate)) => Some(Statement::Set { variable, value }),
        _ => None,
    }
}

/// The variable that a directive defines by this word; tells if it cannot be defined.
pub(super) fn defined(word: &Word, cx: &mut Cx) -> Option<Variable> {
    // The checker told that it is not the name of a variable.
    let name = word.text.strip_prefix('$')?;
    if names::is_fixed(name) {
        cx.report(
            Diagnostic::error(
                Code::FIXED_VARIABLE,
                word.span,
                format!("`${name}` is built in and cannot be defined"),
            )
            .hint("choose another name"),
        );
        return None;
    }
    cx.names.resolve(name)
}

fn rewrite(node: &Node, cx: &mut Cx) -> Option<Statement> {
    let (pattern, replacement, flag) = match node.arguments.as_slice() {
        [pattern, replacement] => (pattern, replacement, None),
        [pattern, replacement, flag] => (pattern, replacement, Some(&*flag.text)),
        _ => return None,
    };
    let regex = cx.regex(pattern, &pattern.text, false);
    if replacement.text.is_empty() {
        cx.report(
            Diagnostic::error(
                Code::EMPTY_REPLACEMENT,
                replacement.span,
                "the replacement is empty",
            )
            .hint("write `/` for the root"),
        );
    }
    let (text, drops_arguments) = match replacement.text.strip_suffix('?') {
        Some(text) => (text, true),
        None => (&*replacement.text, false),
    };
    let flag = match flag {
        Some("redirect") => RewriteFlag::Redirect,
        Some("permanent") => RewriteFlag::Permanent,
        _ if is_address(text) => RewriteFlag::Redirect,
        Some("last") => RewriteFlag::Last,
        Some("break") => RewriteFlag::Break,
        _ => RewriteFlag::Continue,
    };
    let matches_query = asks_for_question_mark(&pattern.text);
    if matches_query {
        cx.report(
            Diagnostic::warning(
                Code::REWRITE_MATCHES_QUERY,
                pattern.span,
                "the pattern asks for a `?`, so it is matched against path and query together",
            )
            .hint("to do the same in nginx, match the path and use `$arg_NAME` in the replacement"),
        );
    }
    let replacement = cx.template_of(replacement, text);
    Some(Statement::Rewrite(Rewrite {
        regex: regex?,
        replacement,
        drops_arguments,
        has_query: text.contains('?'),
        matches_query,
        flag,
        span: node.span,
    }))
}

/// Does a pattern ask for a literal `?`: `\?`, or `?` in a class that is not negated? A path holds
/// one only if the client escaped it.
fn asks_for_question_mark(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    let mut at = 0;
    // `Some(negated)` inside of a class.
    let mut class = None;
    while at < bytes.len() {
        match (bytes[at], class) {
            (b'\\', _) => {
                if bytes.get(at + 1) == Some(&b'?') && class != Some(true) {
                    return true;
                }
                at += 1;
            }
            (b'[', None) => {
                let negated = bytes.get(at + 1) == Some(&b'^');
                at += usize::from(negated);
                class = Some(negated);
                // A `]` at the start of a class is a member of it.
                at += usize::from(bytes.get(at + 1) == Some(&b']'));
            }
            (b']', Some(_)) => class = None,
            (b'?', Some(false)) => return true,
            _ => {}
        }
        at += 1;
    }
    false
}

fn returns(node: &Node, cx: &mut Cx) -> Option<Statement> {
    let (status, text) = match node.arguments.as_slice() {
        [status] => (status, None),
        [status, text] => (status, Some(text)),
        _ => return None,
    };
    match (unit::decimal(&status.text), text) {
        (Some(code @ 0..=999), _) => Some(Statement::Return(Return {
            status: code as u16,
            text: text.map(|text| cx.template(text)),
        })),
        (None, None) if is_address(&status.text) => Some(Statement::Return(Return {
            status: 302,
            text: Some(cx.template(status)),
        })),
        _ => {
            let mut problem = Diagnostic::error(
                Code::BAD_RETURN,
                status.span,
                format!("`{}` is not a status", status.text),
            );
            if text.is_none() && status.text.starts_with(['/', '$']) {
                problem = problem.hint(format!("write `return 302 {};`", status.text));
            } else if text.is_none() {
                problem = problem.hint("a text needs a status before it: `return 200 TEXT;`");
            }
            cx.report(problem);
            None
        }
    }
}

/// The condition of an `if` (nginx `ngx_http_rewrite_if_condition`).
fn condition(node: &Node, cx: &mut Cx) -> Option<Condition> {
    let (Some(first), Some(last)) = (node.arguments.first(), node.arguments.last()) else {
        return None;
    };
    // The parentheses stand alone or stick to the first and last word.
    let mut words: Vec<(&Word, &str)> = node
        .arguments
        .iter()
        .map(|word| (word, &*word.text))
        .collect();
    let invalid = |word: &Word, text: &str| {
        Diagnostic::error(
            Code::BAD_CONDITION,
            word.span,
            format!("`{text}` is not a condition"),
        )
    };
    match words.first_mut() {
        Some((_, text)) if text.starts_with('(') => *text = &text[1..],
        _ => {
            let problem = invalid(first, &first.text);
            cx.report(problem.hint("a condition stands in parentheses: `if ($variable) { … }`"));
            return None;
        }
    }
    match words.last_mut() {
        Some((_, text)) if text.ends_with(')') => *text = &text[..text.len() - 1],
        _ => {
            let problem = invalid(last, &last.text);
            cx.report(problem.hint("the condition ends with `)`"));
            return None;
        }
    }
    if words.len() > 1 && words.first().is_some_and(|(_, text)| text.is_empty()) {
        words.remove(0);
    }
    if words.len() > 1
        && words
            .last()
            .is_some_and(|(word, text)| text.is_empty() && &*word.text == ")")
    {
        words.pop();
    }
    match words.as_slice() {
        [(word, variable)] if is_variable(variable) => {
            Some(Condition::True(cx.variable(word, &variable[1..])?))
        }
        [(word, variable), (operator, sign), (operand, value)] if is_variable(variable) => {
            let variable = cx.variable(word, &variable[1..]);
            let negate = sign.starts_with('!');
            match *sign {
                "=" | "!=" => {
                    let value = cx.template_of(operand, value);
                    Some(Condition::Equal {
                        variable: variable?,
                        value,
                        negate,
                    })
                }
                "~" | "~*" | "!~" | "!~*" => {
                    let regex = cx.regex(operand, value, sign.ends_with('*'));
                    Some(Condition::Match {
                        variable: variable?,
                        regex: regex?,
                        negate,
                    })
                }
                _ => {
                    let mut problem = Diagnostic::error(
                        Code::BAD_CONDITION,
                        operator.span,
                        format!("`{sign}` does not compare"),
                    );
                    problem = match *sign {
                        "==" | "===" | "eq" | "-eq" | "is" => problem.hint("write `=`"),
                        "<>" | "!==" | "ne" | "-ne" => problem.hint("write `!=`"),
                        "=~" => problem.hint("write `~`"),
                        "=~*" => problem.hint("write `~*`"),
                        "<" | ">" | "<=" | ">=" => problem.hint(
                            "numbers cannot be compared; a `map` with `~` can tell them apart",
                        ),
                        _ => problem.hint("use one of `=`, `!=`, `~`, `~*`, `!~`, `!~*`"),
                    };
                    cx.report(problem);
                    None
                }
            }
        }
        [(_, test), (operand, path)] if file_test(test).is_some() => {
            let test = file_test(test)?;
            let path = cx.template_of(operand, path);
            Some(Condition::File {
                test,
                path,
                negate: words[0].1.starts_with('!'),
            })
        }
        _ => {
            let (word, text) = words[0];
            let problem = invalid(word, text);
            let joins = ["&&", "||", "and", "or"];
            cx.report(if words.iter().any(|(_, text)| joins.contains(text)) {
                problem.hint("conditions cannot be joined; use a `map` over several variables")
            } else if text.starts_with('$') && text.contains(['=', '~']) {
                problem.hint("put blanks around the operator")
            } else if is_variable(text) && words.len() > 3 {
                problem.hint("a text with blanks needs quotes")
            } else {
                problem.hint("it starts with a `$variable`, or with `-f`, `-d`, `-e` or `-x`")
            });
            None
        }
    }
}

fn is_variable(text: &str) -> bool {
    text.strip_prefix('$').is_some_and(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

fn file_test(text: &str) -> Option<FileTest> {
    match text.strip_prefix('!').unwrap_or(text) {
        "-f" => Some(FileTest::File),
        "-d" => Some(FileTest::Directory),
        "-e" => Some(FileTest::Exists),
        "-x" => Some(FileTest::Executable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{nodes, problems};
    use super::*;

    fn lower(text: &str) -> (Vec<Statement>, Cx) {
        let nodes = nodes(text);
        let mut cx = Cx::new(&nodes);
        let statements = statements(&nodes, &mut cx, &mut |_, _| None);
        (statements, cx)
    }

    fn refused(text: &str) -> String {
        let (statements, cx) = lower(text);
        assert!(statements.is_empty(), "{text}: {statements:?}");
        problems(&cx)
    }

    #[test]
    fn parentheses_may_stand_alone_or_stick_to_words() {
        for text in [
            "if ($host = a) { }",
            "if ( $host = a ) { }",
            "if ($host = a ) { }",
            "if ( $host = a) { }",
            "if ($host = \"a\") { }",
        ] {
            let (statements, cx) = lower(text);
            assert_eq!(problems(&cx), "", "{text}");
            let [
                Statement::If {
                    condition:
                        Condition::Equal {
                            variable,
                            value,
                            negate,
                        },
                    ..
                },
            ] = statements.as_slice()
            else {
                panic!("{text}: {statements:?}");
            };
            assert_eq!(*variable, Variable::Core(Core::Host));
            assert_eq!(value.literal(), Some(&b"a"[..]));
            assert!(!negate);
        }
        let (statements, _) = lower("if ($http_user_agent ~* (bad|evil)) { return 403; }");
        let [
            Statement::If {
                condition: Condition::Match { regex, .. },
                statements,
                ..
            },
        ] = statements.as_slice()
        else {
            panic!("{statements:?}");
        };
        assert_eq!(regex.source(), "(bad|evil)");
        assert!(regex.is_match(b"EVIL"));
        assert!(matches!(
            statements[..],
            [Statement::Return(Return { status: 403, .. })]
        ));
    }

    #[test]
    fn every_operator_and_file_test_is_read() {
        let sign = |text: &str| {
            let (statements, cx) = lower(&format!("if ($host {text} x) {{ }}"));
            assert_eq!(problems(&cx), "", "{text}");
            match &statements[..] {
                [
                    Statement::If {
                        condition: Condition::Equal { negate, .. },
                        ..
                    },
                ] => {
                    format!("equal {negate}")
                }
                [
                    Statement::If {
                        condition: Condition::Match { regex, negate, .. },
                        ..
                    },
                ] => {
                    format!("match {negate} {}", regex.is_match(b"X"))
                }
                _ => String::new(),
            }
        };
        assert_eq!(sign("="), "equal false");
        assert_eq!(sign("!="), "equal true");
        assert_eq!(sign("~"), "match false false");
        assert_eq!(sign("~*"), "match false true");
        assert_eq!(sign("!~"), "match true false");
        assert_eq!(sign("!~*"), "match true true");
        for (text, wanted, negated) in [
            ("-f", FileTest::File, false),
            ("-d", FileTest::Directory, false),
            ("-e", FileTest::Exists, false),
            ("-x", FileTest::Executable, false),
            ("!-f", FileTest::File, true),
            ("!-x", FileTest::Executable, true),
        ] {
            let (statements, _) = lower(&format!("if ({text} $request_filename) {{ }}"));
            assert!(
                matches!(
                    &statements[..],
                    [Statement::If { condition: Condition::File { test, negate, .. }, .. }]
                        if *test == wanted && *negate == negated
                ),
                "{text}: {statements:?}"
            );
        }
    }

    #[test]
    fn what_is_not_a_condition_is_told_with_the_way_out() {
        let hint = |text: &str| {
            let (_, cx) = lower(text);
            assert_eq!(cx.diagnostics.len(), 1, "{text}: {}", problems(&cx));
            assert_eq!(cx.diagnostics[0].code, Code::BAD_CONDITION, "{text}");
            cx.diagnostics[0].hint.clone().unwrap_or_default()
        };
        assert!(hint("if $host = a { }").contains("parentheses"));
        assert!(hint("if ($host = a { }").contains("ends with"));
        assert_eq!(hint("if ($host == a) { }"), "write `=`");
        assert!(hint("if ($host = a && $uri = b) { }").contains("`map`"));
        assert!(hint("if ($host=a) { }").contains("blanks"));
        assert!(hint("if ($http_user_agent = a b c) { }").contains("quotes"));
        for text in [
            "if () { }",
            "if ( ) { }",
            "if (-f) { }",
            "if (-z x) { }",
            "if (host = a) { }",
        ] {
            assert!(hint(text).contains("starts with"), "{text}");
        }
        assert_eq!(
            refused("if ($hots) { }"),
            "OC-E101 unknown variable `$hots`\n"
        );
    }

    #[test]
    fn a_scheme_makes_a_redirect_and_a_question_mark_at_the_end_drops_the_arguments() {
        let rewrite = |text: &str| {
            let (statements, cx) = lower(text);
            let [Statement::Rewrite(rewrite)] = &statements[..] else {
                panic!("{text}: {}", problems(&cx));
            };
            (rewrite.flag, rewrite.drops_arguments, rewrite.has_query)
        };
        use RewriteFlag::*;
        assert_eq!(rewrite("rewrite a /b;"), (Continue, false, false));
        assert_eq!(rewrite("rewrite a /b? last;"), (Last, true, false));
        assert_eq!(rewrite("rewrite a /b?c=1 break;"), (Break, false, true));
        assert_eq!(
            rewrite("rewrite a /b?c=1? redirect;"),
            (Redirect, true, true)
        );
        assert_eq!(
            rewrite("rewrite a http://b$1 permanent;"),
            (Permanent, false, false)
        );
        assert_eq!(
            rewrite("rewrite a https://b last;"),
            (Redirect, false, false)
        );
        assert_eq!(rewrite("rewrite a $scheme://b;"), (Redirect, false, false));
        assert_eq!(refused("rewrite ( /b;").lines().count(), 1);
        let (_, cx) = lower("rewrite a \"\";");
        assert_eq!(cx.diagnostics[0].code, Code::EMPTY_REPLACEMENT);
    }

    #[test]
    fn only_a_literal_question_mark_asks_for_the_query() {
        for pattern in [r"^/a\?id=(.*)$", "^/a[?]id", "a[&?]", r"a[\?]", r"[]?]"] {
            assert!(asks_for_question_mark(pattern), "{pattern}");
        }
        for pattern in [
            r"^/a?$", "(?i)a", "(?:a)", r"a\\?", "[^?]+", r"[^\?]+", "a*?", "[^]?]",
        ] {
            assert!(!asks_for_question_mark(pattern), "{pattern}");
        }
        let (_, cx) = lower(r"rewrite ^/app/users\?id=(.*)$ /api/v1/users/$1 break;");
        assert_eq!(cx.diagnostics[0].code, Code::REWRITE_MATCHES_QUERY);
    }

    #[test]
    fn return_takes_a_status_with_a_text_or_an_address_alone() {
        let returned = |text: &str| {
            let (statements, cx) = lower(text);
            assert_eq!(problems(&cx), "", "{text}");
            let [Statement::Return(Return { status, text })] = &statements[..] else {
                panic!("{statements:?}");
            };
            let text = text.as_ref().and_then(|text| text.literal());
            (
                *status,
                text.map(|text| String::from_utf8_lossy(text).into_owned()),
            )
        };
        assert_eq!(returned("return 204;"), (204, None));
        assert_eq!(returned("return 200 \"a b\";"), (200, Some("a b".into())));
        assert_eq!(returned("return 0;"), (0, None));
        assert_eq!(returned("return 999;"), (999, None));
        assert_eq!(
            returned("return http://a/;"),
            (302, Some("http://a/".into()))
        );
        assert_eq!(returned("return $scheme://a;").0, 302);
        for text in [
            "return 1000;",
            "return /a;",
            "return a b;",
            "return http://a b;",
        ] {
            assert!(refused(text).starts_with("OC-E112"), "{text}");
        }
    }

    #[test]
    fn built_in_variables_cannot_be_set_but_two() {
        let (statements, cx) = lower("set $args a=1; set $limit_rate 1k; set $Mine $http_x$arg_y;");
        assert_eq!(problems(&cx), "");
        let variables: Vec<_> = statements
            .iter()
            .map(|statement| match statement {
                Statement::Set { variable, .. } => variable.clone(),
                _ => panic!("{statement:?}"),
            })
            .collect();
        assert_eq!(
            variables,
            [
                Variable::Core(Core::Args),
                Variable::Core(Core::LimitRate),
                Variable::Slot(cx.names.slot("mine").expect("defined")),
            ]
        );
        for name in ["uri", "query_string", "http_host", "HTTP_COOKIE"] {
            assert!(
                refused(&format!("set ${name} x;")).starts_with("OC-E103"),
                "{name}"
            );
        }
        let (_, cx) = lower("set $http_mine x;");
        assert_eq!(problems(&cx), "");
    }

    #[test]
    fn a_variable_may_be_used_before_its_definition_and_by_a_named_group() {
        let (_, cx) = lower(
            "return 200 $later$Named; set $later x; if ($uri ~ ^/(?<named>.)(?P<other>.)(?<=x)) { set $a $other; }",
        );
        assert_eq!(problems(&cx), "");
        let (_, cx) = lower("return 200 $remote_adr;");
        assert_eq!(
            cx.diagnostics[0].hint.as_deref(),
            Some("did you mean `$remote_addr`?")
        );
    }
}
