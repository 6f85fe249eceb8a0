//! A stream of any bytes, cut anywhere: what passes through is what came, and no cut changes what is seen
//! or said in another format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::llm::wire::front::Format;
use openclaw::llm::wire::neutral::Client;
use openclaw::llm::wire::translate::Translator;
use openclaw::llm::wire::watch::Watcher;

fuzz_target!(|bytes: &[u8]| {
    let [which, step, stream @ ..] = bytes else {
        return;
    };
    let size = usize::from(*step).max(1);
    let format = Format::ALL[usize::from(*which) % Format::ALL.len()];
    let mut cut = Watcher::new(format);
    let mut out = Vec::new();
    for piece in stream.chunks(size) {
        let Ok(piece) = cut.push(piece) else { return };
        out.extend_from_slice(&piece);
    }
    let left = cut.end();
    assert!(left.is_empty());
    assert_eq!(out, stream);
    let mut whole = Watcher::new(format);
    let _ = whole.push(stream);
    whole.end();
    assert_eq!(cut.seen().reported, whole.seen().reported);
    assert_eq!(cut.verdict(), whole.verdict());
    let mut named = Watcher::new(format).naming("n").hiding_usage();
    let _ = named.push(stream);
    named.end();

    for to in Format::ALL {
        let said = |size: usize| {
            let mut translator = Translator::new(format, to, Client::default());
            let mut out = String::new();
            for piece in stream.chunks(size.max(1)) {
                out.push_str(&translator.push(piece).unwrap_or_default());
            }
            out + &translator.end()
        };
        assert_eq!(said(size), said(stream.len()));
    }
});
