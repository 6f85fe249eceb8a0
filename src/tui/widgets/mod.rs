//! Pieces that more than one screen or overlay is made of. None knows a screen.

pub mod ask;
pub mod help;
pub mod line;
pub mod prompt;
pub mod reader;
pub mod sparkline;
pub mod table;
