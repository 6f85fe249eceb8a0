//! The text of `stub_status`, byte for byte in nginx's form, which monitoring tools parse.

use crate::metrics::registry::total;

/// The page as it is now.
pub fn text() -> Vec<u8> {
    format!(
        "Active connections: {} \nserver accepts handled requests\n {} {} {} \nReading: {} Writing: {} Waiting: {} \n",
        total(|counters| &counters.active),
        total(|counters| &counters.accepted),
        total(|counters| &counters.handled),
        total(|counters| &counters.requests),
        total(|counters| &counters.reading),
        total(|counters| &counters.writing),
        total(|counters| &counters.waiting),
    )
    .into_bytes()
}
