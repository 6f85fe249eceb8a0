//! What tests of the running program share: servers, clients, backends, all on real sockets.

pub mod backend;
pub mod certificate;
pub mod client;
pub mod fake_daemon;
pub mod fixture;
pub mod frames;
pub mod front;
pub mod http2_backend;
pub mod http2_client;
pub mod model;
pub mod openssl;
pub mod pebble;
pub mod ports;
pub mod process_tree;
pub mod responder;
pub mod secure_backend;
pub mod server;
pub mod tls_client;
pub mod wire;
