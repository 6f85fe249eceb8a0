//! `slice`: the further parts of an answer whose first part was sent.
//!
//! Owns that they are asked for one after the other, each by a request of our own that finds its part in
//! the cache or asks a peer for it, and sends it behind what the client has. Which part that is, and what
//! of it is sent, is [`crate::http::slices`]'s.
//!
//! Invariant: one part at a time is on its way, no sooner than the client took the one before; an answer
//! that cannot go on is cut.

use std::rc::Rc;

use super::downstream::{ClientError, Downstream};
use super::generation::Local;
use super::proxy::{self, Outcome, Plan};
use super::{account, answer, cache};
use crate::conf::typed::log::Level;
use crate::http::exchange::Exchange;

/// Sends what is left of an answer that began with a part of it.
pub async fn follow(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
) -> Result<Outcome, ClientError> {
    while let Some(rest) = exchange.slicing.rest.take() {
        let mut further = exchange.derive_same();
        further.slicing = exchange.slicing.further(rest.start);
        let sent = proxy::proxy_once(local, &mut further, downstream, plan).await;
        account::count_attempts(&further);
        exchange.bytes_sent += further.bytes_sent;
        match sent? {
            Outcome::Sent => exchange.slicing.rest = further.slicing.rest.take(),
            Outcome::Cut => {
                answer::note_sent(exchange, downstream);
                return Ok(Outcome::Cut);
            }
            outcome => {
                let status = match outcome {
                    Outcome::Failed(status)
                    | Outcome::Answered(status)
                    | Outcome::Intercepted(status) => status,
                    _ => further.upstream_head.status,
                };
                local.log(
                    exchange,
                    Level::Error,
                    format_args!(
                        "the slice at {} cannot be had ({status}) while sending to client",
                        rest.start
                    ),
                );
                return Ok(cache::break_off(local, exchange, downstream).await);
            }
        }
    }
    answer::add_trailers(exchange);
    downstream.queue_end(&exchange.answer_trailers);
    exchange.bytes_sent += downstream.flush(exchange.settings.send_timeout).await?;
    answer::note_sent(exchange, downstream);
    exchange.is_complete = true;
    Ok(Outcome::Sent)
}
