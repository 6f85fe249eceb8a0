//! Bytes: sockets, their options, and deadlines. Knows neither TLS nor HTTP.

pub mod connect;
pub mod deadline;
pub mod listener;
pub mod proxy_protocol;
pub mod resolver;
pub mod stream;
pub mod tcp_info;
