//! `llm_gateway`: a call of a language model, from the client's key to the last cent.

pub mod ask;

use std::rc::Rc;

use super::Next;
use super::downstream::Downstream;
use super::generation::Local;
use crate::http::exchange::Exchange;

pub async fn answer(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
) -> Next {
    let _ = (local, exchange, downstream);
    Next::Fail(501)
}
