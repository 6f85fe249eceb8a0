//! What is written down of calls of language models and their answers (`llm_log`).

/// How the bodies of calls are written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bodies {
    /// By a digest of what they say, under a key that nobody else has.
    Hash,
    /// Without what should not be written down.
    Redacted,
    /// As they are.
    Full,
}

impl Bodies {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Redacted => "redacted",
            Self::Full => "full",
        }
    }
}

/// `llm_log body`: what is written down of a place, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LlmLog {
    /// What.
    pub bodies: Bodies,
    /// `retention=`: for so many days, that of the call not counted.
    pub days: u32,
}
