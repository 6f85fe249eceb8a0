//! How HTTP/2 writes fields (HPACK, RFC 7541).
//!
//! A field that was sent before is named by its number in a table that both ends keep. So blocks are
//! decoded, and encoded, in the order in which they travel, all of them and whole: whoever skips one
//! loses the connection.

pub mod decoder;
pub mod encoder;
mod huffman;
mod table;
