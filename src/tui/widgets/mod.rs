//! Pieces that more than one screen or overlay is made of. None knows a screen.

pub mod line;
