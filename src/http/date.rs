//! Dates as HTTP and logs write them.
/// `$time_iso8601`
pub fn iso8601(_unix: u64) -> &'static str {
    ""
}
/// `$time_local`
pub fn log_time(_unix: u64) -> &'static str {
    ""
}
