//! Which model the rules chose for a conversation (`llm_sticky`), so that its next turns get the same one:
//! its cache of prompts is used, and its style does not change between two answers.
//!
//! Remembered is a hash of who asks for what, by which rules, in which conversation; nothing that was said.
//! What is forgotten, because too many conversations came in between or the process began anew, is chosen
//! again. Other rules after a reload are other hashes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::unit::clock;

/// Conversations of each half: some megabytes in all.
const HALF: usize = 16_384;

/// The process's memory of what was chosen.
pub fn sticky() -> &'static Sticky {
    static STICKY: LazyLock<Sticky> = LazyLock::new(Sticky::default);
    &STICKY
}

/// What was chosen for conversations.
#[derive(Debug, Default)]
pub struct Sticky {
    halves: Mutex<Halves>,
}

/// Those that had a turn lately, and those that may have to go.
#[derive(Debug, Default)]
struct Halves {
    young: HashMap<u64, Chosen>,
    old: HashMap<u64, Chosen>,
}

#[derive(Clone, Debug)]
struct Chosen {
    /// `None` if no rule had anything to say.
    model: Option<Arc<str>>,
    /// When its last turn was, in [`clock::milliseconds`].
    at: u64,
}

impl Sticky {
    /// The model of a conversation that had a turn no longer ago than this, and the inner `None` if no rule
    /// spoke then. Otherwise what `choose` says, which is remembered.
    pub fn model(
        &self,
        conversation: u64,
        lifetime: Duration,
        choose: impl FnOnce() -> Option<String>,
    ) -> Option<Arc<str>> {
        self.model_at(conversation, lifetime, clock::milliseconds(), choose)
    }

    fn model_at(
        &self,
        conversation: u64,
        lifetime: Duration,
        now: u64,
        choose: impl FnOnce() -> Option<String>,
    ) -> Option<Arc<str>> {
        let age = |chosen: &Chosen| Duration::from_millis(now.saturating_sub(chosen.at));
        let known = self.halves.lock().find(conversation);
        let model = match known.filter(|chosen| age(chosen) <= lifetime) {
            Some(chosen) => chosen.model,
            // Rules may take their time.
            None => choose().map(Arc::from),
        };
        let chosen = Chosen {
            model: model.clone(),
            at: now,
        };
        self.halves.lock().put(conversation, chosen);
        model
    }
}

impl Halves {
    fn find(&self, conversation: u64) -> Option<Chosen> {
        let young = self.young.get(&conversation);
        young.or_else(|| self.old.get(&conversation)).cloned()
    }

    fn put(&mut self, conversation: u64, chosen: Chosen) {
        if self.young.len() >= HALF && !self.young.contains_key(&conversation) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(conversation, chosen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn ask(sticky: &Sticky, conversation: u64, now: u64, now_chosen: &str) -> String {
        let choose = || (!now_chosen.is_empty()).then(|| now_chosen.to_owned());
        let model = sticky.model_at(conversation, HOUR, now, choose);
        model.map_or_else(String::new, |model| model.to_string())
    }

    #[test]
    fn a_conversation_keeps_what_was_chosen_until_it_rests_for_too_long() {
        let sticky = Sticky::default();
        assert_eq!(ask(&sticky, 1, 0, "small"), "small");
        assert_eq!(ask(&sticky, 2, 0, ""), "");
        let hour = HOUR.as_millis() as u64;
        // Each turn gives it more time.
        assert_eq!(ask(&sticky, 1, hour, "large"), "small");
        assert_eq!(ask(&sticky, 1, 2 * hour, "large"), "small");
        // That no rule spoke is a choice, too.
        assert_eq!(ask(&sticky, 2, hour, "large"), "");
        assert_eq!(ask(&sticky, 1, 3 * hour + 1, "large"), "large");
        assert_eq!(ask(&sticky, 1, 3 * hour + 2, "small"), "large");
    }

    #[test]
    fn many_conversations_push_out_those_that_rest_and_no_others() {
        let sticky = Sticky::default();
        assert_eq!(ask(&sticky, 0, 0, "first"), "first");
        for number in 1..=3 * HALF as u64 {
            ask(&sticky, number, 0, "other");
            if number % 1000 == 0 {
                assert_eq!(ask(&sticky, 0, 0, "changed"), "first", "{number}");
            }
        }
        let halves = sticky.halves.lock();
        assert!(halves.young.len() <= HALF && halves.old.len() <= HALF);
        drop(halves);
        assert_eq!(ask(&sticky, 1, 0, "changed"), "changed");
    }
}
