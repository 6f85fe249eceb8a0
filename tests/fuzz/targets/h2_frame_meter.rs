//! Frames are judged the same however their bytes are cut: as many bytes pass, for the same reason no
//! more do, and the meter is left in the same state.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::http::h2::frame_meter::{Fault, FrameMeter, MOST_POINTS};

fuzz_target!(|input: &[u8]| {
    // The last bytes say how large the pieces are, and when they come.
    let Some((&[cut, pause], bytes)) = input.split_last_chunk::<2>() else {
        return;
    };
    let whole = in_pieces(bytes, bytes.len(), 0);
    assert_eq!(whole, in_pieces(bytes, usize::from(cut), 0));
    assert_eq!(whole, in_pieces(bytes, 1, 0));
    // Time gives points back and does nothing else: without a flood it changes nothing, and with one
    // the client comes as far or further.
    let later = in_pieces(bytes, usize::from(cut), u64::from(pause));
    match whole.1 {
        Some(Fault::Flood(_)) => assert!(later.0 >= whole.0),
        fault => assert_eq!((later.0, later.1), (whole.0, fault)),
    }
});

/// How many bytes pass, the fault, and how the meter is left.
fn in_pieces(bytes: &[u8], cut: usize, pause: u64) -> (usize, Option<Fault>, String) {
    let mut meter = FrameMeter::new(0);
    let mut at = 0;
    let mut now = 0;
    for piece in bytes.chunks(cut.max(1)) {
        match meter.read(piece, now) {
            Ok(()) => at += piece.len(),
            Err(stop) => {
                assert!(stop.at < piece.len());
                return (at + stop.at, Some(stop.fault), String::new());
            }
        }
        now += pause;
    }
    meter.earn(MOST_POINTS);
    (at, None, format!("{meter:?}"))
}
