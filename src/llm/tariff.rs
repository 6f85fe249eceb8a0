//! The prices that hold here: those of the configuration, and where it says none the built-in ones.
//!
//! A price of the configuration stands for the whole price of its models: nothing of the built-in one
//! is mixed into it, so that what a call costs can be read off one line.

use std::collections::HashMap;
use std::rc::Rc;

use super::price::{self, Model, Prices};
use crate::conf::typed::llm::Provider;
use crate::conf::typed::llm_money::Price;

/// What the ledger calls the version of a price that stands in the configuration.
const OWN: &str = "configuration";

/// All prices of a configuration.
#[derive(Default, Debug)]
pub struct Tariff {
    /// By name in lower case.
    exact: HashMap<Box<str>, Prices>,
    /// By what names begin with, in lower case, the longest first.
    beginnings: Vec<(Box<str>, Prices)>,
}

/// What a model costs.
#[derive(Debug)]
pub enum Quote<'a> {
    /// By the configuration.
    Own(&'a Prices),
    /// By the built-in table.
    Known(Rc<Model>),
}

impl Quote<'_> {
    /// The prices.
    #[must_use]
    pub fn prices(&self) -> &Prices {
        match self {
            Self::Own(prices) => prices,
            Self::Known(model) => &model.prices,
        }
    }

    /// The day of the built-in table, or a word for the configuration.
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self {
            Self::Own(_) => OWN,
            Self::Known(_) => price::version(),
        }
    }
}

impl Tariff {
    /// The prices of every `llm_price`.
    #[must_use]
    pub fn new(lines: &[Price]) -> Self {
        let mut tariff = Self::default();
        for line in lines {
            let mut prices = Prices::default();
            for (name, dollars) in &line.amounts {
                let is_known = prices.set(name, dollars);
                debug_assert!(is_known, "the configuration takes what prices take");
            }
            let name = line.model.to_ascii_lowercase();
            match name.strip_suffix('*') {
                Some(beginning) => tariff.beginnings.push((beginning.into(), prices)),
                None => {
                    tariff.exact.insert(name.into(), prices);
                }
            }
        }
        (tariff.beginnings).sort_by_key(|(beginning, _)| std::cmp::Reverse(beginning.len()));
        tariff
    }

    /// What a model of a provider costs, by the provider's own name for it; `None` if nobody knows.
    #[must_use]
    pub fn quote(&self, provider: &Provider, model: &str) -> Option<Quote<'_>> {
        let own = self.own(&provider.name, model).map(Quote::Own);
        own.or_else(|| price::find(provider.kind, model).map(Quote::Known))
    }

    /// What the configuration says: of the model of this provider before that of any.
    fn own(&self, provider: &str, model: &str) -> Option<&Prices> {
        if self.exact.is_empty() && self.beginnings.is_empty() {
            return None;
        }
        let full = format!("{provider}/{model}").to_ascii_lowercase();
        let alone = &full[provider.len() + 1..];
        let names = [&*full, alone];
        let exact = names.iter().find_map(|name| self.exact.get(*name));
        exact.or_else(|| {
            let begins = |(beginning, _): &&(Box<str>, Prices)| {
                names.iter().any(|name| name.starts_with(&**beginning))
            };
            self.beginnings
                .iter()
                .find(begins)
                .map(|(_, prices)| prices)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::typed::llm::Llm;
    use crate::conf::typed::llm_money::PRICE_WORDS;
    use crate::conf::typed::lower::fixture::llm;
    use crate::llm::price::Terms;
    use crate::llm::usage::Usage;

    /// What a million tokens in and a million out cost.
    fn cost(llm: &Llm, provider: usize, model: &str) -> Option<(String, &'static str)> {
        let tariff = Tariff::new(&llm.rules.prices);
        let usage = Usage {
            input: 1_000_000,
            output: 1_000_000,
            ..Usage::default()
        };
        let quote = tariff.quote(&llm.providers[provider], model)?;
        let cost = quote.prices().cost(&usage, Terms::default())?;
        Some((cost.to_string(), quote.version()))
    }

    #[test]
    fn a_price_of_the_configuration_stands_in_place_of_the_built_in_one() {
        let llm = llm(
            "llm_provider openai { } llm_provider local { base_url http://127.0.0.1:1/v1; } \
             llm_price openai/gpt-4o in=1 out=$2.000001; llm_price local/* in=0 out=0; \
             llm_price local/big* in=3 out=4; llm_price local/big-one in=5 out=6; \
             llm_price claimed request=0.01;",
        );
        let own = |text: &str| Some((text.to_owned(), OWN));
        assert_eq!(cost(&llm, 0, "gpt-4o"), own("3.000001"));
        assert_eq!(cost(&llm, 0, "GPT-4o"), own("3.000001"));
        // Others of the provider keep theirs.
        let (text, version) = cost(&llm, 0, "gpt-4o-mini").expect("a price");
        assert_eq!((&*text, version), ("0.75", price::version()));
        assert_eq!(cost(&llm, 1, "anything"), own("0.00"));
        assert_eq!(cost(&llm, 1, "big-two"), own("7.00"));
        assert_eq!(cost(&llm, 1, "big-one"), own("11.00"));
        // A price that says nothing of tokens knows none.
        assert_eq!(cost(&llm, 0, "claimed"), None);
    }

    #[test]
    fn every_word_of_the_configuration_is_a_price() {
        for word in PRICE_WORDS {
            let mut prices = Prices::default();
            assert!(prices.set(word.trim_end_matches('='), "0.5"), "{word}");
        }
    }
}
