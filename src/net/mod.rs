//! Bytes: sockets, their options, and deadlines. Knows neither TLS nor HTTP.

pub mod tcp_info;
