//! A request of any bytes: it is refused or its facts are told, never anything else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::llm::wire::facts::Facts;
use openclaw::llm::wire::front::{Format, Front, Operation, Streaming};
use openclaw::llm::wire::json::{Duplicates, Index};

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
    }
});
