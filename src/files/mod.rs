//! Static content: which file a path stands for, and what of it is answered.
//!
//! Owns nginx's static, index, autoindex and try_files modules: paths, system calls on files, media
//! types, listings. It returns values; sending, logging and the choice of error pages are the
//! caller's. Invariant: what comes from a request never leads out of `root` or `alias`.

pub mod autoindex;
pub mod mime;
pub mod open;
pub mod report;
pub mod serve;
pub mod store;
