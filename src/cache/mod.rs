//! What is kept of answers: zones, their entries in memory and on disk, and their purging.
//!
//! Owns the storage alone: which bytes belong to which key, how many of them there may be, and that
//! what is read is what was written. Which answers are stored, for how long they are fresh and when
//! they are served is `serve`'s to decide; it leaves what it needs for that in an entry's
//! [`entry::Head`], which nothing here looks into but for its key, its `Vary` and its tags.
//!
//! | file | owns |
//! | --- | --- |
//! | [`key`] | the text of a key and its digest |
//! | [`entry`] | what is stored besides the body |
//! | [`zone`] | a zone: finding, filling, renewing, removing |
//! | [`flight`] | an entry while it is filled: one that writes, many that read along |
//!
//! Invariants: finding never waits for a disk; two keys with the same digest never answer for each
//! other; an entry is seen whole or, by those who follow its filling, as a filling.

pub mod entry;
pub mod flight;
pub mod key;
pub mod zone;
