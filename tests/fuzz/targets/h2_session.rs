//! What a client of HTTP/2 says is judged the same however its bytes are cut: the same requests begin
//! and it is told the same. And whatever it says while it is answered, its streams stay within their
//! bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::http::h1::parse::HeadLimits;
use openclaw::http::h2::frame::Code;
use openclaw::http::h2::session::{Fault, Gone, Limits, Session};
use openclaw::http::head::{Fields, RequestHead};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const STREAMS: usize = 4;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_last() else {
        return;
    };
    // Most of what is random would not come beyond the preface.
    let bytes = [PREFACE, bytes].concat();
    let whole = in_pieces(&bytes, bytes.len());
    assert_eq!(whole, in_pieces(&bytes, usize::from(cut)));
    assert_eq!(whole, in_pieces(&bytes, 1));
    answered(&bytes, usize::from(cut));
});

fn session() -> Session {
    let limits = Limits {
        streams: STREAMS,
        window: 1 << 16,
        list: 8 << 10,
        head: HeadLimits::default(),
    };
    Session::new(limits, 0)
}

/// What the client is told, which requests began, and why it was stopped.
fn in_pieces(bytes: &[u8], cut: usize) -> (Vec<u8>, Vec<String>, Option<Fault>) {
    let mut session = session();
    let mut input = Vec::new();
    let mut fault = None;
    for piece in bytes.chunks(cut.max(1)) {
        input.extend_from_slice(piece);
        match session.read(&input, 0) {
            Ok(count) => drop(input.drain(..count)),
            Err(found) => {
                fault = Some(found);
                break;
            }
        }
    }
    let mut requests = Vec::new();
    for place in std::mem::take(&mut session.begun) {
        let mut head = RequestHead::default();
        let (asks, count) = session.take_head(place, &mut head);
        let body = session.body(place).map(|body| body.map(<[u8]>::to_vec));
        requests.push(format!("{count} {asks:?} {head:?} {body:?}"));
    }
    (written(&mut session, usize::MAX), requests, fault)
}

/// What waits to be written, or as much of it as the socket takes.
fn written(session: &mut Session, most: usize) -> Vec<u8> {
    let mut written = Vec::new();
    while written.len() < most && !session.out.is_empty() {
        let before = written.len();
        for part in &session.out.parts() {
            written.extend_from_slice(&part[..part.len().min(most - written.len())]);
        }
        session.out.wrote(written.len() - before);
    }
    written
}

/// Answers as soon as there is something to answer, with more than the windows take.
fn answered(bytes: &[u8], cut: usize) {
    let mut session = session();
    let mut input = Vec::new();
    let mut running = Vec::new();
    let mut fields = Fields::default();
    fields.push(b"Server", b"openclaw");
    for (turn, piece) in bytes.chunks(cut.max(1)).enumerate() {
        input.extend_from_slice(piece);
        match session.read(&input, turn as u64) {
            Ok(count) => drop(input.drain(..count)),
            Err(fault) => {
                session.end(Some(fault.code()));
                break;
            }
        }
        for place in std::mem::take(&mut session.begun) {
            assert!(session.is_new(place));
            session.take_head(place, &mut RequestHead::default());
            let _ = session.send_head(place, 200, &fields, false);
            running.push(place);
        }
        session.changed.clear();
        assert_eq!(session.running(), running.len());
        assert!(running.len() <= 2 * STREAMS);
        running.retain(|&place| {
            let taken = match session.body(place) {
                Ok(Some(bytes)) => bytes.len(),
                _ => 0,
            };
            session.take_body(place, taken);
            let mut body = vec![b'x'; 9000];
            let is_gone = match session.send_buffer(place, &mut body, turn % 3, turn % 2 == 0) {
                Ok(true) => false,
                Ok(false) => session.send_data(place, &body, turn % 2 == 0).is_err(),
                Err(Gone) => true,
            };
            let is_done = is_gone || turn % 3 == 0;
            if is_done {
                session.release(place, Code::InternalError);
            }
            !is_done
        });
        if turn % 2 == 0 {
            written(&mut session, 100 * (turn % 7));
            session.unblock();
        }
    }
    running.into_iter().for_each(|place| session.release(place, Code::Cancel));
    assert_eq!(session.running(), 0);
}
