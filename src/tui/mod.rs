//! The dashboard, a client of the control protocol.
