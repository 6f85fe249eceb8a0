//! `more_set_headers` and its like (the module headers-more): fields set and taken out by name.

use crate::conf::template::Template;

/// What a place does to the fields of requests and answers, those of the outer places first.
#[derive(Debug, Default)]
pub struct HeaderEdits {
    /// To answers.
    pub answer: Box<[HeaderEdit]>,
    /// To requests.
    pub request: Box<[HeaderEdit]>,
}

/// One field and what becomes of it.
#[derive(Debug)]
pub struct HeaderEdit {
    /// The field's name.
    pub name: Box<[u8]>,
    /// What is done to it.
    pub change: HeaderChange,
    /// `-s`: only in answers with one of these statuses; empty is all.
    pub statuses: Box<[u16]>,
    /// `-t`: only in messages with one of these media types; empty is all.
    pub types: Box<[Box<[u8]>]>,
}

/// What is done to a field.
#[derive(Debug)]
pub enum HeaderChange {
    /// It has this value alone; an empty one takes it out.
    Set(Template),
    /// Likewise, if it is there (`-r`).
    Replace(Template),
    /// One more, beside those that are there (`-a`).
    Append(Template),
    /// It is taken out.
    Clear,
    /// Every field whose name begins so is taken out (`X-*`).
    ClearBeginning,
}
