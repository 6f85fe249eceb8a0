//! Which models there are under which names, and who answers for them.
//!
//! A client asks for an `llm_model` by its name, or for `PROVIDER/MODEL`, which needs no line of the
//! configuration. Names are compared without regard to case.

use std::sync::Arc;

use crate::conf::check::distance;
use crate::conf::typed::llm::{Llm, Provider, Target};

/// So many names are suggested for one that is unknown.
const SUGGESTED: usize = 3;

/// A longer name is near to nothing, and comparing costs time.
const LONGEST_COMPARED: usize = 128;

/// Who is asked for a model: a provider, by its position, and what that one calls the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice<'a> {
    /// Position in [`Llm::providers`].
    pub provider: usize,
    /// The provider's own name for the model.
    pub model: &'a str,
}

/// Who is asked for a model, in order. `pick` is any number, evenly spread: it decides which of those
/// that share the calls is first. `None` if there is no such model.
pub fn choices<'a>(llm: &'a Llm, name: &'a str, pick: u64) -> Option<Vec<Choice<'a>>> {
    let known = llm
        .models
        .iter()
        .find(|model| model.name.eq_ignore_ascii_case(name));
    if let Some(model) = known {
        return Some(in_order(&model.targets, pick));
    }
    let (provider, model) = name
        .split_once('/')
        .filter(|(_, model)| !model.is_empty())?;
    let is_it = |known: &Arc<Provider>| known.name.eq_ignore_ascii_case(provider);
    let provider = llm.providers.iter().position(is_it)?;
    Some(vec![Choice { provider, model }])
}

/// The targets in the order in which they are asked: one of those that are no backups by its share,
/// then the others of them as written, then the backups.
fn in_order(targets: &[Target], pick: u64) -> Vec<Choice<'_>> {
    let total: u64 = (targets.iter().filter(|target| !target.is_backup))
        .map(|target| u64::from(target.weight))
        .sum();
    let mut left = pick.checked_rem(total).unwrap_or_default();
    let mut first = None;
    for (position, target) in targets.iter().enumerate() {
        if target.is_backup {
            continue;
        }
        let weight = u64::from(target.weight);
        if left < weight {
            first = Some(position);
            break;
        }
        left -= weight;
    }
    let others = |backup: bool| {
        (0..targets.len()).filter(move |&position| {
            targets[position].is_backup == backup && Some(position) != first
        })
    };
    let order = first.into_iter().chain(others(false)).chain(others(true));
    let choices = order.map(|position| Choice {
        provider: targets[position].provider,
        model: &targets[position].model,
    });
    choices.collect()
}

/// The names that look most like one that is unknown, the nearest first.
pub fn nearest<'a>(llm: &'a Llm, name: &str) -> Vec<&'a str> {
    if name.len() > LONGEST_COMPARED {
        return Vec::new();
    }
    let lower = name.to_ascii_lowercase();
    let mut near: Vec<(usize, &str)> = (llm.models.iter())
        .map(|model| {
            (
                distance(&lower, &model.name.to_ascii_lowercase()),
                &*model.name,
            )
        })
        .collect();
    near.sort();
    // What shares no letter is no help.
    near.retain(|(distance, known)| *distance < known.len().max(name.len()));
    near.truncate(SUGGESTED);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::conf::typed::lower;
    use crate::conf::{check, include};

    fn llm(text: &str) -> Llm {
        let text = format!("http {{ {text} }}\n");
        let mut loaded = include::load_text(Path::new("test.conf"), text, Path::new("/"));
        check::check(&mut loaded);
        let config = lower::config::lower(&mut loaded, Path::new("/"), &[]);
        config
            .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
            .http
            .llm
    }

    fn usual() -> Llm {
        llm("llm_provider one { } llm_provider two { api anthropic; } \
             llm_model gpt-4o { target one/gpt-4o; target two/claude backup; } \
             llm_model shared { target one/a weight=3; target two/b; target one/c backup; } \
             llm_model GPT-4o-mini { target one/gpt-4o-mini; }")
    }

    fn asked(llm: &Llm, name: &str, pick: u64) -> Option<Vec<String>> {
        let choices = choices(llm, name, pick)?;
        let names = choices
            .iter()
            .map(|choice| format!("{}/{}", llm.providers[choice.provider].name, choice.model));
        Some(names.collect())
    }

    #[test]
    fn a_model_is_found_by_its_name_in_any_case_and_backups_come_last() {
        let llm = usual();
        let expected = Some(vec!["one/gpt-4o".to_owned(), "two/claude".to_owned()]);
        for name in ["gpt-4o", "GPT-4O"] {
            assert_eq!(asked(&llm, name, 7), expected);
        }
    }

    #[test]
    fn targets_share_the_calls_by_their_weights() {
        let llm = usual();
        let firsts: Vec<_> = (0..8)
            .map(|pick| asked(&llm, "shared", pick).expect("known").remove(0))
            .collect();
        let count = |name: &str| firsts.iter().filter(|first| **first == *name).count();
        assert_eq!((count("one/a"), count("two/b"), count("one/c")), (6, 2, 0));
        let expected = ["two/b", "one/a", "one/c"].map(str::to_owned);
        assert_eq!(asked(&llm, "shared", 3), Some(expected.to_vec()));
    }

    #[test]
    fn a_model_of_a_provider_needs_no_line() {
        let llm = usual();
        let expected = Some(vec!["two/claude-sonnet-4-5".to_owned()]);
        assert_eq!(asked(&llm, "two/claude-sonnet-4-5", 0), expected);
        let slashes = Some(vec!["one/meta/llama-3".to_owned()]);
        assert_eq!(asked(&llm, "ONE/meta/llama-3", 0), slashes);
        for unknown in ["two/", "three/x", "claude", ""] {
            assert_eq!(asked(&llm, unknown, 0), None, "{unknown}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let llm = usual();
        assert_eq!(nearest(&llm, "gpt4o"), ["gpt-4o", "GPT-4o-mini"]);
        assert_eq!(nearest(&llm, "gpt-4o-mnii")[0], "GPT-4o-mini");
        assert_eq!(nearest(&llm, &"x".repeat(1000)), [""; 0]);
    }
}
