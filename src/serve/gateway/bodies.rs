//! `llm_log body`: what was asked and what was answered, written down beside what the log tells of a call.
//!
//! Invariant: what is written of a call is bounded, and nobody waits until it is written.

use std::rc::Rc;

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;

use super::{Asking, kept};
use crate::conf::typed::llm_log::{Bodies, LlmLog};
use crate::conf::variable::{Core, Variable};
use crate::http::exchange::Exchange;
use crate::http::variables;
use crate::llm::kept::{Kept, canonical};
use crate::llm::redact::{self, Manner};
use crate::llm::wire::front::{Format, Operation};
use crate::llm::wire::json::encode;
use crate::llm::wire::translate;
use crate::log::dated;

/// Of what was asked, and of what was answered, about so many bytes are written at most.
const MOST: usize = 64 << 10;

/// Of what a provider sends so many bytes are held at most.
pub const MOST_RECEIVED: usize = 1 << 20;

/// What an answer says.
pub struct Said {
    text: String,
    /// There was more.
    is_cut: bool,
}

/// What an answer says that a provider gave; nothing of one that is no text.
pub fn said(asking: &Asking<'_>, record: Option<&Rc<kept::Record>>) -> Option<Said> {
    let record = record.filter(|_| is_text(asking))?;
    record.read(of_bytes)
}

/// What an answer says that was kept.
pub fn said_again(asking: &Asking<'_>, kept: &Kept) -> Option<Said> {
    is_text(asking).then(|| of_bytes(kept.format, kept.is_stream, false, &kept.body))
}

fn is_text(asking: &Asking<'_>) -> bool {
    let operation = asking.front.operation;
    asking.passing.is_none() && matches!(operation, Operation::Chat | Operation::Completion)
}

fn of_bytes(format: Format, is_stream: bool, is_cut: bool, bytes: &[u8]) -> Said {
    let text = translate::said(format, bytes, is_stream);
    Said { text, is_cut }
}

/// Writes a call down that is over. `id` is its number in the ledger.
pub fn note(exchange: &Exchange, asking: &Asking<'_>, log: &LlmLog, id: u64, said: Option<&Said>) {
    let mut line = Vec::new();
    variables::write(&Variable::Core(Core::LlmJson), exchange, &mut line);
    // The end of the object; more follows.
    if line.pop() != Some(b'}') {
        return;
    }
    let word = log.bodies.word();
    line.extend_from_slice(format!(",\"call\":{id},\"body\":\"{word}\"").as_bytes());
    let manner = match log.bodies {
        Bodies::Hash => {
            let Some(key) = dated::key() else { return };
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            let mut digest = |name: &str, of: &[u8]| {
                let digest = HEXLOWER.encode(hmac::sign(&key, of).as_ref());
                line.extend_from_slice(format!(",\"{name}\":\"{digest}\"").as_bytes());
            };
            let front = asking.front;
            let asked = canonical(front.format, front.operation, asking.root);
            digest("request_digest", &asked);
            if let Some(said) = said.filter(|said| !said.is_cut) {
                digest("answer_digest", said.text.as_bytes());
            }
            return write(log, line);
        }
        Bodies::Redacted => Manner::Redacted,
        Bodies::Full => Manner::Full,
    };
    let (asked, mut is_cut) = redact::json(asking.root, manner, MOST);
    line.extend_from_slice(format!(",\"request\":{asked}").as_bytes());
    if let Some(said) = said {
        let (text, is_more) = redact::text(&said.text, manner, MOST);
        is_cut |= is_more || said.is_cut;
        line.extend_from_slice(format!(",\"answer\":\"{}\"", encode(&text)).as_bytes());
    }
    if is_cut {
        line.extend_from_slice(b",\"is_cut\":true");
    }
    write(log, line);
}

fn write(log: &LlmLog, mut line: Vec<u8>) {
    line.push(b'}');
    dated::write(log.days, line);
}
