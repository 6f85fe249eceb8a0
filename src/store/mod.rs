//! What outlives the process: one SQLite file, one thread that writes it.
