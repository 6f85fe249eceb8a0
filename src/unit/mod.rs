//! Words and numbers that everyone uses: sizes and times as nginx writes them.

pub mod clock;
