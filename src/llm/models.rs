//! Which models there are under which names, and who answers for them.
//!
//! A client asks for an `llm_model` by its name, or for `PROVIDER/MODEL`, which needs no line of the
//! configuration. Names are compared without regard to case.

use std::sync::Arc;
use std::time::Duration;

use crate::conf::check::distance;
use crate::conf::typed::llm::{Causes, Llm, Provider, Strategy, Target};

/// So many names are suggested for one that is unknown.
const SUGGESTED: usize = 3;

/// A longer name is near to nothing, and comparing costs time.
const LONGEST_COMPARED: usize = 128;

/// Who may be asked for a model: a provider, by its position, and what that one calls the model.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Position in [`Llm::providers`].
    pub provider: usize,
    /// The provider's own name for the model.
    pub model: &'a str,
    /// What the configuration says of it, if the model is written there.
    pub target: Option<&'a Target>,
    /// Is it where the model's conversations usually are? What another one gets of them was thought
    /// elsewhere.
    pub is_home: bool,
}

impl Choice<'_> {
    /// Is it asked after another one failed for this cause?
    #[must_use]
    pub fn is_for(&self, cause: Causes) -> bool {
        let usual = Causes::USUAL;
        (self.target.map_or(usual, |target| target.on)).contains(cause)
    }

    /// Is it only asked when others cannot answer?
    #[must_use]
    pub fn is_backup(&self) -> bool {
        self.target.is_some_and(|target| target.is_backup)
    }

    fn weight(&self) -> u64 {
        self.target.map_or(1, |target| u64::from(target.weight))
    }
}

/// How those who may be asked are put in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// What the model says.
    pub strategy: Strategy,
    /// Any number, evenly spread over the calls.
    pub pick: u64,
    /// What the calls have in common that go to the same one.
    pub hash: u64,
}

/// What an order looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// May it be asked at all?
    pub is_ready: bool,
    /// Of a hundred calls that could go elsewhere, how many it gets.
    pub share: u64,
    /// Calls under way.
    pub under_way: u32,
    /// How soon its answers begin, lately.
    pub first_part: Option<Duration>,
}

/// Who may be asked for a model, as written, and in which order they are; `None` if there is no such
/// model.
pub fn choices<'a>(llm: &'a Llm, name: &'a str) -> Option<(Strategy, Vec<Choice<'a>>)> {
    let known = llm
        .models
        .iter()
        .find(|model| model.name.eq_ignore_ascii_case(name));
    if let Some(model) = known {
        let is_ordered = model.strategy == Strategy::Ordered;
        let targets = model.targets.iter().enumerate();
        let choices = targets.map(|(position, target)| Choice {
            provider: target.provider,
            model: &target.model,
            target: Some(target),
            is_home: position == 0 || !(is_ordered || target.is_backup),
        });
        return Some((model.strategy, choices.collect()));
    }
    let (provider, model) = name
        .split_once('/')
        .filter(|(_, model)| !model.is_empty())?;
    let is_it = |known: &Arc<Provider>| known.name.eq_ignore_ascii_case(provider);
    let provider = llm.providers.iter().position(is_it)?;
    let choice = Choice {
        provider,
        model,
        target: None,
        is_home: true,
    };
    Some((Strategy::Ordered, vec![choice]))
}

/// Puts those who may be asked in the order in which they are. Backups come last, as written. Those
/// that may not be asked now keep their place: whether they may is found out when it is their turn.
pub fn put_in_order(choices: &mut [Choice<'_>], order: Order, load: impl Fn(&Choice<'_>) -> Load) {
    choices.sort_by_key(Choice::is_backup);
    let backups = choices.iter().filter(|choice| choice.is_backup()).count();
    let count = choices.len() - backups;
    let choices = &mut choices[..count];
    if count < 2 {
        return;
    }
    let Order {
        strategy,
        pick,
        hash,
    } = order;
    // One that only just came back leaves most of its calls to others.
    let is_fit = |choice: &Choice<'_>| {
        let load = load(choice);
        load.is_ready && pick % 100 < load.share
    };
    match strategy {
        Strategy::Ordered => choices.sort_by_key(|choice| !is_fit(choice)),
        Strategy::Weighted => {
            let fit: Vec<bool> = choices.iter().map(is_fit).collect();
            let weights = choices.iter().zip(&fit);
            let weights: Vec<u64> = weights
                .map(|(choice, is_fit)| if *is_fit { choice.weight() } else { 0 })
                .collect();
            let mut left = pick.checked_rem(weights.iter().sum()).unwrap_or_default();
            let first = weights.iter().position(|weight| {
                let is_it = left < *weight;
                left = left.saturating_sub(*weight);
                is_it
            });
            if let Some(first) = first {
                choices[..=first].rotate_right(1);
            }
        }
        Strategy::LeastBusy => {
            // Those that are equally busy take turns.
            choices.rotate_left((pick % count as u64) as usize);
            choices.sort_by_key(|choice| {
                let load = load(choice);
                (
                    !is_fit(choice),
                    u64::from(load.under_way) * 1000 / choice.weight(),
                )
            });
        }
        Strategy::Fastest => {
            // Two of them are compared: if all calls went to the fastest, it would not stay so.
            let fit = choices.iter().filter(|choice| is_fit(choice)).count() as u64;
            choices.sort_by_key(|choice| !is_fit(choice));
            if fit >= 2 {
                let mixed = mix(pick);
                let one = (mixed % fit) as usize;
                let other = (one + 1 + (mixed / fit % (fit - 1)) as usize) % fit as usize;
                let cost = |choice: &Choice<'_>| {
                    let load = load(choice);
                    // Who was never asked is asked, once.
                    let time = load.first_part.unwrap_or_default().as_micros();
                    time * u128::from(load.under_way + 1)
                };
                let first = match cost(&choices[one]) <= cost(&choices[other]) {
                    true => one,
                    false => other,
                };
                choices[..=first].rotate_right(1);
            }
        }
        Strategy::Affinity(_) => {
            // Each call has its own order of all, and keeps it when one is added or taken away.
            choices.sort_by_cached_key(|choice| {
                let place = choice
                    .model
                    .bytes()
                    .fold(choice.provider as u64, |sum, byte| {
                        mix(sum ^ u64::from(byte))
                    });
                // From 0 to 1, and so that a target of twice the weight wins twice as often.
                let chance = (mix(hash ^ place) >> 11) as f64 / (1_u64 << 53) as f64;
                let score = chance.ln() / choice.weight() as f64;
                (!is_fit(choice), std::cmp::Reverse(Score(score)))
            });
        }
    }
}

/// A number that is compared as numbers are.
struct Score(f64);

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A number in which every bit of another one has its part (the finisher of `SplitMix64`).
const fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
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
    use super::*;
    use crate::conf::typed::lower::fixture::llm;

    fn usual() -> Llm {
        llm("llm_provider one { } llm_provider two { api anthropic; } \
             llm_model gpt-4o { target one/gpt-4o; target two/claude backup; } \
             llm_model shared { target one/a weight=3; target two/b; target one/c backup; } \
             llm_model GPT-4o-mini { target one/gpt-4o-mini; }")
    }

    const IDLE: Load = Load {
        is_ready: true,
        share: 100,
        under_way: 0,
        first_part: None,
    };

    /// In which order those are asked who stand like this, for a call with this number and hash.
    fn ordered(
        llm: &Llm,
        name: &str,
        (pick, hash): (u64, u64),
        load: impl Fn(&str) -> Load,
    ) -> Option<Vec<String>> {
        let (strategy, mut choices) = choices(llm, name)?;
        let label = |choice: &Choice<'_>| {
            format!("{}/{}", llm.providers[choice.provider].name, choice.model)
        };
        let order = Order {
            strategy,
            pick,
            hash,
        };
        put_in_order(&mut choices, order, |choice| load(&label(choice)));
        Some(choices.iter().map(label).collect())
    }

    fn asked(llm: &Llm, name: &str, pick: u64) -> Option<Vec<String>> {
        ordered(llm, name, (pick, 0), |_| IDLE)
    }

    /// How many of a thousand calls go first to each of these.
    fn firsts<const COUNT: usize>(
        llm: &Llm,
        name: &str,
        of: [&str; COUNT],
        load: impl Fn(&str) -> Load,
    ) -> [usize; COUNT] {
        let firsts: Vec<String> = (0..1000)
            .map(|pick| {
                let order = ordered(llm, name, (pick, mix(pick)), &load);
                order.expect("known").remove(0)
            })
            .collect();
        of.map(|name| firsts.iter().filter(|first| *first == name).count())
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
        let all = ["one/a", "two/b", "one/c"];
        assert_eq!(firsts(&llm, "shared", all, |_| IDLE), [750, 250, 0]);
        let expected = ["two/b", "one/a", "one/c"].map(str::to_owned);
        assert_eq!(asked(&llm, "shared", 3), Some(expected.to_vec()));
        // Who cannot be asked has no share, and one that only just came back has little.
        let load = |label: &str| Load {
            is_ready: label != "one/a",
            ..IDLE
        };
        assert_eq!(firsts(&llm, "shared", all, load), [0, 1000, 0]);
        let load = |label: &str| Load {
            share: if label == "one/a" { 10 } else { 100 },
            ..IDLE
        };
        let [back, other, _] = firsts(&llm, "shared", all, load);
        assert!(back <= 100 && back + other == 1000, "{back}");
    }

    fn of_strategy(strategy: &str) -> Llm {
        llm(&format!(
            "llm_provider one {{ }} llm_model m {{ strategy {strategy}; target one/a; target one/b; \
             target one/c; target one/last backup; }}"
        ))
    }

    const ALL: [&str; 4] = ["one/a", "one/b", "one/c", "one/last"];

    #[test]
    fn ordered_targets_are_asked_as_written_unless_they_cannot_answer() {
        let llm = of_strategy("ordered");
        assert_eq!(firsts(&llm, "m", ALL, |_| IDLE), [1000, 0, 0, 0]);
        let load = |label: &str| Load {
            is_ready: label != "one/a",
            ..IDLE
        };
        assert_eq!(firsts(&llm, "m", ALL, load), [0, 1000, 0, 0]);
    }

    #[test]
    fn the_least_busy_is_asked_and_the_idle_take_turns() {
        let llm = of_strategy("least_busy");
        let load = |label: &str| Load {
            under_way: if label == "one/b" { 1 } else { 2 },
            ..IDLE
        };
        assert_eq!(firsts(&llm, "m", ALL, load), [0, 1000, 0, 0]);
        let turns = firsts(&llm, "m", ALL, |_| IDLE);
        assert!(turns[..3].iter().all(|turn| (333..=334).contains(turn)));
    }

    #[test]
    fn of_two_the_faster_is_asked_and_a_stranger_before_both() {
        let llm = of_strategy("fastest");
        let load = |label: &str| Load {
            first_part: Some(Duration::from_millis(match label {
                "one/a" => 50,
                "one/b" => 100,
                _ => 200,
            })),
            ..IDLE
        };
        let [a, b, c, last] = firsts(&llm, "m", ALL, load);
        // The fastest wins two of the three pairs, the next one the third.
        assert!(
            (a.abs_diff(667) < 50, b.abs_diff(333) < 50) == (true, true),
            "{a} {b}"
        );
        assert_eq!((c, last), (0, 0));
        let stranger = |label: &str| match label {
            "one/c" => IDLE,
            _ => load(label),
        };
        assert!(firsts(&llm, "m", ALL, stranger)[2].abs_diff(667) < 50);
    }

    #[test]
    fn calls_that_have_something_in_common_go_to_the_same_one() {
        let llm = of_strategy("affinity");
        let order = |hash, load: &dyn Fn(&str) -> Load| {
            let orders: Vec<_> = (0..10)
                .map(|pick| ordered(&llm, "m", (pick, hash), load).expect("known"))
                .collect();
            assert!(orders.iter().all(|order| *order == orders[0]));
            orders[0].clone()
        };
        let mut moved = 0;
        for hash in 0..300 {
            let before = order(hash, &|_| IDLE);
            let after = order(hash, &|label| Load {
                is_ready: label != "one/b",
                ..IDLE
            });
            match before[0] == "one/b" {
                true => moved += 1,
                false => assert_eq!(before[0], after[0], "nobody else moves"),
            }
            assert_eq!(after[3], "one/last");
        }
        assert!((70..130).contains(&moved), "{moved}");
        let shares = firsts(&llm, "m", ALL, |_| IDLE);
        assert!(shares[..3].iter().all(|share| share.abs_diff(333) < 60));
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
    fn misspelt_names_are_answered_with_the_right_one() {
        const NAMES: [&str; 20] = [
            "gpt-4o",
            "gpt-4o-mini",
            "gpt-4.1",
            "gpt-4.1-nano",
            "gpt-5",
            "gpt-5-codex",
            "o3",
            "o4-mini",
            "claude-opus-4-1",
            "claude-sonnet-4-5",
            "claude-haiku-4-5",
            "gemini-2.5-pro",
            "gemini-2.5-flash",
            "gemini-2.5-flash-lite",
            "llama3.3:70b",
            "mistral-large",
            "qwen3-coder",
            "deepseek-chat",
            "deepseek-reasoner",
            "text-embedding-3-small",
        ];
        let lines = NAMES.map(|name| format!("llm_model {name} {{ target one/x; }}"));
        let llm = llm(&format!("llm_provider one {{ }} {}", lines.concat()));
        let without = |name: &str, at: usize| {
            let letters = name.chars().enumerate();
            letters
                .filter(|(place, _)| *place != at)
                .map(|(_, letter)| letter)
                .collect::<String>()
        };
        let swapped = |name: &str, at: usize| {
            let mut letters: Vec<char> = name.chars().collect();
            letters.swap(at, at + 1);
            letters.into_iter().collect::<String>()
        };
        let mut wrong = Vec::new();
        let mut count = 0;
        for name in NAMES {
            let middle = name.len() / 2;
            let misspelt = [
                without(name, middle),
                without(name, 0),
                swapped(name, 0),
                swapped(name, middle - 1),
                format!("{}{name}", &name[..1]),
                format!("{name}-latest"),
                format!("openai/{name}"),
                name.replace(['-', '.', ':'], "_"),
                name.replace(['-', '.', ':'], ""),
                name.replace('-', " ").to_uppercase(),
            ];
            for misspelt in misspelt {
                count += 1;
                if !nearest(&llm, &misspelt).contains(&name) {
                    wrong.push(misspelt);
                }
            }
        }
        assert_eq!(count, 200);
        assert!(
            wrong.len() * 10 <= count,
            "{} of {count}: {wrong:?}",
            wrong.len()
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let llm = usual();
        assert_eq!(nearest(&llm, "gpt4o"), ["gpt-4o", "GPT-4o-mini"]);
        assert_eq!(nearest(&llm, "gpt-4o-mnii")[0], "GPT-4o-mini");
        assert_eq!(nearest(&llm, &"x".repeat(1000)), [""; 0]);
    }
}
