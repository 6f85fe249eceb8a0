//! Edits of any JSON text: what comes out is JSON, has what was put in, and nothing else changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::llm::wire::json::{Duplicates, Index, Kind};
use openclaw::llm::wire::surgery::Surgery;

fuzz_target!(|bytes: &[u8]| {
    let mut index = Index::new();
    let Ok(root) = index.read(bytes, Duplicates::Refuse) else {
        return;
    };
    let text = std::str::from_utf8(bytes).expect("it was read");
    let mut surgery = Surgery::new(root);
    assert_eq!(surgery.finish(text), text);
    surgery.set_string(&["model"], "m");
    surgery.set(&["s", "u"], "true");
    surgery.remove(&["models"]);
    let out = surgery.finish(text);
    let mut again = Index::new();
    let edited = again.read(out.as_bytes(), Duplicates::Refuse).expect("JSON");
    if root.kind() != Kind::Object {
        assert_eq!(out, text);
        return;
    }
    assert!(edited.member("model").is_some_and(|model| model.is("m")));
    assert_eq!(edited.path(&["s", "u"]).map(|value| value.raw()), Some("true"));
    assert!(edited.member("models").is_none());
    for (name, value) in root.members() {
        let name = name.string().expect("a name");
        if !["model", "models", "s"].contains(&&*name) {
            assert_eq!(edited.member(&name).map(|value| value.raw()), Some(value.raw()));
        }
    }
});
