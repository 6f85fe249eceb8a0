//! Requests that we make ourselves on behalf of a client's: to ask whether it may pass, to copy it
//! elsewhere, to renew what the cache holds.
//!
//! A subrequest takes [`THE way`](super::serve) from the server's rewrites on, with the fields and the
//! client of the request that it was made for ([`Exchange::derive`]), and its answer goes nowhere:
//! whoever made it reads the status and the fields of its exchange. As in nginx, limits and access were
//! settled by the request itself and are not asked again; it is no line of the access log, and its
//! peers count it. Its route does not: it is no request of a client.

use std::rc::Rc;

use super::downstream::{Collected, Downstream};
use super::generation::Local;
use crate::http::exchange::Exchange;

/// Makes the request of an exchange that was [derived](Exchange::derive) from a client's. Afterwards
/// its status and its answer's fields are known; its status is that of an error if nobody answered.
/// `false` if the answer broke off.
///
/// Dropping the future ends it. To let it outlive its request, run it in a task of the same worker.
pub async fn run(local: &Rc<Local>, exchange: &mut Exchange) -> bool {
    go(local, exchange, &mut Downstream::Detached(None)).await
}

/// As [`run`], with the body of the answer; `None` if it broke off or is larger.
pub async fn run_for_body(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    most: usize,
) -> Option<Vec<u8>> {
    let collected = Collected {
        bytes: Vec::new(),
        most,
        is_cut: false,
    };
    let mut downstream = Downstream::Detached(Some(Box::new(collected)));
    let is_whole = go(local, exchange, &mut downstream).await;
    match downstream {
        Downstream::Detached(Some(collected)) if is_whole && !collected.is_cut => {
            Some(collected.bytes)
        }
        _ => None,
    }
}

async fn go(local: &Rc<Local>, exchange: &mut Exchange, downstream: &mut Downstream) -> bool {
    // A request may ask itself again by way of its subrequests' locations; the box ends the type.
    let is_whole = Box::pin(super::serve(local, exchange, downstream, Ok(()))).await;
    super::account::count_attempts(exchange);
    is_whole
}
