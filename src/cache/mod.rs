//! What is kept of answers: zones, their entries in memory and on disk, and their purging.
//!
//! Owns the storage alone: which bytes belong to which key, how many of them there may be, and that
//! what is read is what was written. Which answers are stored, for how long they are fresh and when
//! they are served is `serve`'s to decide, with the pure functions of the last files of the table; it
//! leaves what it needs for that in an entry's [`entry::Head`], into which the storage does not look but
//! for its `Vary`, its tags and its URL.
//!
//! | file | owns |
//! | --- | --- |
//! | [`key`] | the text of a key and its digest |
//! | [`entry`] | what is stored besides the body |
//! | [`zone`] | a zone: finding, filling, renewing, removing |
//! | [`flight`] | an entry while it is filled: one that writes, many that read along |
//! | [`index`] | a small record for each file, in the order of use; what of it is in memory |
//! | [`purge`] | what is told to be gone at once and removed by and by |
//! | [`keeper`] | the thread that reads the directory at the start and keeps to the limits |
//! | [`pool`] | the threads that wait for the disk, so that nobody else does |
//! | [`place`] | names and directories |
//! | [`mod@file`], [`format`](mod@format) | the bytes of a file, verified before they are used |
//! | [`control`], [`structured`] | what an answer or a request says about caching |
//! | [`freshness`] | is an answer stored, and for how long is it fresh |
//! | [`reuse`], [`vary`] | may what is stored answer a request |
//! | [`suffix`] | does an answer keep what its path promises |
//! | [`status`] | what a cache did, for those who ask |
//!
//! Invariants: finding never waits for a disk; two keys with the same digest never answer for each
//! other; an entry is seen whole or, by those who follow its filling, as a filling; a process that is
//! killed leaves whole files behind, and others that the next one sweeps away; no byte of a file is
//! given to anybody before its checksum was seen to be right.
//!
//! Locks are taken in this order: a flight's state, a part of the index, the list of the dead.

pub mod control;
pub mod entry;
pub mod file;
pub mod flight;
pub mod format;
pub mod freshness;
pub mod index;
pub mod keeper;
pub mod key;
pub mod place;
pub mod pool;
pub mod purge;
pub mod reuse;
pub mod status;
pub mod structured;
pub mod suffix;
pub mod vary;
pub mod zone;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
