//! How the program ends, in one number.
//!
//! nginx's options keep nginx's codes: `-t` and `-s` end with 0 or 1, and `-t --strict` with 2 where
//! nothing but warnings was found.

use std::process::ExitCode;

/// The end of a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It went well.
    Done,
    /// It did not, or the daemon refused it.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The configuration is wrong.
    Configuration,
    /// There is no daemon to ask.
    NoDaemon,
}

impl Exit {
    /// All of them, with their meaning for the manual.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Done, "it went well"),
        (Self::Failed, "it failed, or the daemon refused it"),
        (Self::Usage, "the command line makes no sense"),
        (Self::Configuration, "the configuration is wrong"),
        (Self::NoDaemon, "no daemon answers"),
    ];

    /// Its number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::NoDaemon => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
