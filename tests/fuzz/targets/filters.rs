//! Bodies on their way and what clients say of codings: text that is replaced comes out the same
//! however it is cut, and any `Accept-Encoding` is read as weights of at most one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::filter::chain::{Chain, Filter};
use openclaw::filter::substitute::Substitute;
use openclaw::http::coding::{Accepted, Coding};

fuzz_target!(|input: (Vec<(Vec<u8>, Vec<u8>)>, bool, Vec<u8>, u8, u8)| {
    let (pairs, once, text, size, room) = input;
    let mut accepted = Accepted::default();
    accepted.read(&text);
    for coding in Coding::ALL {
        assert!(accepted.weight(coding) <= 1000);
    }
    let run = |size: usize, room: usize| {
        let substitute = Substitute::new(pairs.clone(), once)?;
        let mut chain = Chain::new(Filter::Substitute(substitute));
        let mut out = Vec::new();
        for piece in text.chunks(size) {
            chain.push(piece);
            chain.flush();
            chain.run(&mut out, room).expect("text");
        }
        chain.end();
        while chain.has_work() {
            chain.run(&mut out, room).expect("text");
        }
        assert!(chain.has_ended());
        Some(out)
    };
    let whole = run(text.len().max(1), usize::MAX);
    assert_eq!(run(usize::from(size).max(1), usize::from(room).max(1)), whole);
});
