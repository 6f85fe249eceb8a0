//! A request of any bytes: its facts are told and it is said in every other format, or it is refused; what is
//! said is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::llm::wire::embeddings;
use openclaw::llm::wire::facts::Facts;
use openclaw::llm::wire::front::{Format, Front, Operation, Streaming};
use openclaw::llm::wire::json::{Duplicates, Index};
use openclaw::llm::wire::neutral::{Client, Names, Target};
use openclaw::llm::wire::translate;
use openclaw::llm::wire::watch::Seen;

fuzz_target!(|bytes: &[u8]| {
    let mut index = Index::new();
    let Ok(root) = index.read(bytes, Duplicates::Refuse) else {
        return;
    };
    for format in Format::ALL {
        let front = Front {
            format,
            operation: Operation::Chat,
            model: None,
            streaming: Streaming::Asked,
        };
        let _ = Facts::of(&front, root);
        if let Ok(embed) = embeddings::read(format, root) {
            for other in Format::ALL {
                if let Ok(written) = embeddings::write(other, &embed, "m") {
                    is_json(&written.body);
                }
            }
        }
        if let Ok(request) = translate::read_request(format, root) {
            for other in Format::ALL {
                let _ = Names::of(&request, other);
                if let Ok(written) = translate::write_request(other, &request, &Target::new("m")) {
                    is_json(&written.body);
                }
            }
        }
        for other in Format::ALL {
            let mut seen = Seen::default();
            if let Ok(body) =
                translate::answer(format, other, &Client::default(), bytes, &mut seen)
            {
                is_json(&body);
            }
        }
    }
});

fn is_json(text: &str) {
    let mut index = Index::new();
    let read = index.read(text.as_bytes(), Duplicates::LastCounts);
    assert!(read.is_ok(), "{text}");
}
