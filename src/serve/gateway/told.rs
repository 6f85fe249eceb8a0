//! Errors of the gateway, in the format of the client's own library.

use crate::conf::variable::{Core, Variable};
use crate::http::body::Body;
use crate::http::exchange::Exchange;
use crate::http::head::Known;
use crate::http::variables;
use crate::llm::wire::error::Told;
use crate::llm::wire::front::Format;
use crate::serve::{Next, plain};

/// The number of a request, as its answer and the log tell it.
pub fn request_id(exchange: &Exchange) -> String {
    let mut id = Vec::with_capacity(32);
    variables::write(&Variable::Core(Core::RequestId), exchange, &mut id);
    String::from_utf8_lossy(&id).into_owned()
}

/// Answers with an error.
pub fn error(exchange: &mut Exchange, format: Format, told: &Told) -> Next {
    let id = request_id(exchange);
    let body = told.body(format, &id);
    begin(exchange, format, &id);
    if !told.should_retry() {
        exchange.answer.push(b"x-should-retry", b"false");
    }
    exchange.status = told.status_for(format);
    json(exchange, body.into_bytes())
}

/// The fields that every answer has.
pub fn begin(exchange: &mut Exchange, format: Format, id: &str) {
    let name: &[u8] = match format {
        Format::Anthropic => b"request-id",
        _ => b"x-request-id",
    };
    exchange.answer.push(name, id.as_bytes());
}

/// Answers with a text of JSON, whose status is set.
pub fn json(exchange: &mut Exchange, body: Vec<u8>) -> Next {
    exchange.has_peer_reason = false;
    exchange.answer_length = Some(body.len() as u64);
    let content_type = Known::ContentType;
    exchange.answer.remove(content_type);
    (exchange.answer).push_known(Some(content_type), b"Content-Type", b"application/json");
    Next::Send(plain(Body::Bytes(body)))
}
