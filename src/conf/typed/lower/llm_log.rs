//! `llm_log`.

use std::time::Duration;

use super::Cx;
use super::scope::Scope;
use crate::conf::diagnostic::{Code, Diagnostic};
use crate::conf::typed::llm_log::{Bodies, LlmLog};
use crate::unit;

/// For how long bodies are kept where nothing is written, days.
const USUAL_DAYS: u32 = 30;

/// Nobody means longer, days.
const LONGEST_DAYS: u64 = 3660;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The `llm_log` that holds in a place; nothing if no bodies are written down.
pub fn llm_log(scope: &Scope<'_>, cx: &mut Cx) -> Option<LlmLog> {
    let line = scope.nearest("llm_log")?;
    let bodies = line.arguments.get(1).map(|word| &*word.text);
    let bodies = match bodies? {
        "hash" => Bodies::Hash,
        "redacted" => Bodies::Redacted,
        "full" => Bodies::Full,
        _ => {
            if let Some(stray) = line.arguments.get(2) {
                let message = format!(
                    "nothing is written down, and `{}` is said of it",
                    stray.text
                );
                let problem = Diagnostic::error(Code::BAD_LLM_LOG, stray.span, message);
                cx.report(problem.hint("write `llm_log body off;` alone"));
            }
            return None;
        }
    };
    let mut days = USUAL_DAYS;
    // Another parameter was told of before.
    if let Some(word) = line.arguments.get(2)
        && let Some(text) = word.text.strip_prefix("retention=")
    {
        let time = unit::time::seconds(text);
        let whole = time.filter(|time| time.as_secs() % DAY.as_secs() == 0);
        let whole = whole.map(|time| time.as_secs() / DAY.as_secs());
        match whole.filter(|days| (1..=LONGEST_DAYS).contains(days)) {
            Some(whole) => days = u32::try_from(whole).unwrap_or(USUAL_DAYS),
            None => {
                let message = format!("`{text}` is no number of days from 1d to 10y");
                let problem = Diagnostic::error(Code::BAD_LLM_LOG, word.span, message);
                cx.report(problem.hint("write it as `7d` or `30d`"));
            }
        }
    }
    Some(LlmLog { bodies, days })
}
