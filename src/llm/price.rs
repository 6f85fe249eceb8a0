//! What a call costs.
//!
//! Owns the table of prices that the program carries (`assets/model-prices.txt`), how a model is
//! found in it, and the arithmetic. The invariant: a cost is exact, or it is not known. A price that
//! is missing is never zero.
//!
//! # The table
//!
//! A line for each model, sorted by name without regard to case. It stays packed in the program: a
//! look-up is a binary search over the text, and takes apart the one line it finds. Its words are:
//! name, provider, mode, `input/output` limits in tokens (0: not known), capabilities (a letter each,
//! see [`Model::can`]), then prices in dollars per million tokens. A price is a letter for the bucket
//! (`i`nput, `o`utput, cache `r`ead, cache `w`rite, `W` the same for an hour, `a`udio in, `A`udio
//! out, `t`hinking), after a letter for the service tier where it is not the standard one (`b`atch,
//! `p`riority, `f`lex), before the amount: `bi1.25`. `S` is a search of the web, `G` an image that
//! comes out, `Q` the call itself, each in dollars; `?` says that the provider also counts in units
//! that we do not (seconds, characters). `*us=1.1` multiplies everything when the call asks for it.
//! What follows `>200000` holds in place of the above when more tokens than that go in, what follows
//! `~12345:0-60` on these days of the week (Monday is 1) between these minutes of the day in UTC.
//!
//! # Which price
//!
//! The service tier is the one that the provider says it has used. A larger input moves the whole
//! call to the higher row. What a row does not say is looked up in the one before it; then reads from
//! and writes to a cache cost as much as input, thinking and audio as much as the text they stand for.
//! The window is that of the start of the call. Multipliers come last, and round half up, once.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;

use super::usage::Usage;
use crate::unit::money::{Money, scaled};

/// The table. 250 KB of text that nobody touches until a model is looked up.
static TABLE: &str = include_str!("../../assets/model-prices.txt");

/// Decimals of a price per million tokens. With six a token costs whole pico-dollars.
const PRICE_DECIMALS: usize = 6;

/// Buckets that have a price of their own.
const BUCKETS: &[u8] = b"iorwWaAt";

/// A price per token for a bucket, in pico-dollars, which is micro-dollars per million.
type Price = u64;

/// How the provider has treated a call.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Service {
    /// As usual.
    #[default]
    Standard,
    /// Whenever there was time.
    Batch,
    /// Before others.
    Priority,
    /// After others.
    Flex,
}

impl Service {
    /// Reads what a provider calls it in its answer; what is not known is as usual.
    #[must_use]
    pub fn of(text: &str) -> Self {
        [
            ("batch", Self::Batch),
            ("priority", Self::Priority),
            ("flex", Self::Flex),
        ]
        .into_iter()
        .find(|(name, _)| text.eq_ignore_ascii_case(name))
        .map_or(Self::Standard, |(_, service)| service)
    }
}

/// Prices of one kind of call: of one size or time.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Row {
    standard: [Option<Price>; BUCKETS.len()],
    /// Input, output, cache read and cache write of batch, priority and flex.
    services: [[Option<Price>; 4]; 3],
}

impl Row {
    fn price(&self, bucket: usize, service: Service) -> Option<Price> {
        let own = match service {
            Service::Standard => None,
            Service::Batch => Some(&self.services[0]),
            Service::Priority => Some(&self.services[1]),
            Service::Flex => Some(&self.services[2]),
        };
        // A tier has one price for all output.
        let column = if bucket == THINKING { OUTPUT } else { bucket };
        own.and_then(|own| *own.get(column)?)
            .or(self.standard[bucket])
    }

    /// Takes a word such as `bi1.25`; `None` if it is none.
    fn set(&mut self, word: &str) -> Option<()> {
        let mut letters = word.bytes();
        let mut letter = letters.next()?;
        let service = b"bpf".iter().position(|&service| service == letter);
        if service.is_some() {
            letter = letters.next()?;
        }
        let bucket = BUCKETS.iter().position(|&bucket| bucket == letter)?;
        let amount = word.get(1 + usize::from(service.is_some())..)?;
        let price = scaled(amount, PRICE_DECIMALS)?;
        match service {
            Some(service) => *self.services[service].get_mut(bucket)? = Some(price),
            None => self.standard[bucket] = Some(price),
        }
        Some(())
    }
}

// Places in `BUCKETS`.
const INPUT: usize = 0;
const OUTPUT: usize = 1;
const CACHE_READ: usize = 2;
const CACHE_WRITE: usize = 3;
const CACHE_WRITE_HOUR: usize = 4;
const AUDIO_INPUT: usize = 5;
const AUDIO_OUTPUT: usize = 6;
const THINKING: usize = 7;

/// What a bucket costs if it has no price of its own.
const fn instead(bucket: usize) -> Option<usize> {
    match bucket {
        CACHE_READ | CACHE_WRITE | AUDIO_INPUT => Some(INPUT),
        CACHE_WRITE_HOUR => Some(CACHE_WRITE),
        AUDIO_OUTPUT | THINKING => Some(OUTPUT),
        _ => None,
    }
}

/// Days of a week and minutes of a day in UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Window {
    /// A bit for each day, Monday is bit 1.
    days: u8,
    from: u32,
    to: u32,
}

impl Window {
    fn has(&self, unix_seconds: u64) -> bool {
        // 1970 began on a Thursday.
        let day = (unix_seconds / 86_400 + 3) % 7 + 1;
        let minute = (unix_seconds % 86_400 / 60) as u32;
        self.days & (1 << day) != 0 && (self.from..self.to).contains(&minute)
    }

    fn parse(text: &str) -> Option<Self> {
        let (days, minutes) = text.split_once(':')?;
        let (from, to) = minutes.split_once('-')?;
        let mut window = Self {
            days: 0,
            from: from.parse().ok()?,
            to: to.parse().ok()?,
        };
        for day in days.bytes() {
            window.days |= matches!(day, b'1'..=b'7').then(|| 1 << (day - b'0'))?;
        }
        Some(window)
    }
}

/// What calls of a model cost.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Prices {
    base: Row,
    /// Rows that hold above so many tokens of input, from small to large.
    above: Vec<(u64, Row)>,
    off_peak: Option<(Vec<Window>, Row)>,
    search: Option<Money>,
    image: Option<Money>,
    fee: Money,
    has_other_units: bool,
    /// In thousandths.
    multipliers: Vec<(Box<str>, u64)>,
}

/// Under which terms a call was answered.
#[derive(Clone, Copy, Default, Debug)]
pub struct Terms<'a> {
    /// The tier that the provider says it has used.
    pub service: Service,
    /// When the call began, in seconds since 1970.
    pub start: u64,
    /// What it asked for that multiplies the price: `us`, `fast`, `regional_processing_uplift_eu`.
    /// What the model has no multiplier for changes nothing.
    pub multipliers: &'a [&'a str],
}

impl Prices {
    /// Adds a price that a person has configured, by the name of a bucket: `in`, `out`,
    /// `cache_read`, `cache_write`, `cache_write_1h`, `audio_in`, `audio_out`, `reasoning`, the
    /// first four also after `batch_`, `priority_` and `flex_`, in dollars per million tokens;
    /// `search`, `image` and `request` in dollars each. `false` if there is no such name, or the
    /// amount is none.
    pub fn set(&mut self, name: &str, dollars: &str) -> bool {
        let letter = match name {
            "search" | "image" | "request" => {
                let Some(money) = Money::parse(dollars) else {
                    return false;
                };
                match name {
                    "search" => self.search = Some(money),
                    "image" => self.image = Some(money),
                    _ => self.fee = money,
                }
                return true;
            }
            name => {
                let (service, bucket) = match name.split_once('_') {
                    Some(("batch", bucket)) => ("b", bucket),
                    Some(("priority", bucket)) => ("p", bucket),
                    Some(("flex", bucket)) => ("f", bucket),
                    _ => ("", name),
                };
                let names = BUCKET_NAMES.iter().position(|known| *known == bucket);
                let Some(place) = names else {
                    return false;
                };
                format!("{service}{}", char::from(BUCKETS[place]))
            }
        };
        let dollars = dollars.strip_prefix('$').unwrap_or(dollars);
        self.base.set(&format!("{letter}{dollars}")).is_some()
    }

    /// The cost of a call, or `None` if it has used something whose price is not known.
    #[must_use]
    pub fn cost(&self, usage: &Usage, terms: Terms<'_>) -> Option<Money> {
        let tokens = [
            (INPUT, usage.input),
            (CACHE_READ, usage.cache_read),
            (CACHE_WRITE, usage.cache_write_5m),
            (CACHE_WRITE_HOUR, usage.cache_write_1h),
            (AUDIO_INPUT, usage.audio_input),
            (OUTPUT, usage.output),
            (THINKING, usage.reasoning),
            (AUDIO_OUTPUT, usage.audio_output),
        ];
        let has_units = usage.images > 0 || tokens.iter().any(|&(_, count)| count > 0);
        if self.has_other_units && !has_units {
            return None;
        }
        let rows = self.rows(usage.total_input(), terms);
        let mut pico = i128::from(self.fee.pico());
        for (bucket, count) in tokens {
            if count > 0 {
                let price = price(&rows, bucket, terms.service)?;
                pico = pico.saturating_add(i128::from(count).saturating_mul(price.into()));
            }
        }
        for (count, price) in [
            (usage.web_searches, self.search),
            (usage.images, self.image),
        ] {
            if count > 0 {
                let price = i128::from(price?.pico());
                pico = pico.saturating_add(i128::from(count).saturating_mul(price));
            }
        }
        let (mut up, mut down) = (1, 1);
        for (name, ratio) in &self.multipliers {
            if terms.multipliers.contains(&&**name) {
                up *= i128::from(*ratio);
                down *= 1000;
            }
        }
        let cost = match pico.checked_mul(2 * up) {
            Some(doubled) => (doubled + down) / (2 * down),
            None => i128::MAX,
        };
        Some(Money::saturated(cost))
    }

    /// The most that a call can cost that takes in so many tokens and puts out so many at most,
    /// however the provider will count them; for a reservation. Searches, images and audio are not
    /// in it. `None` if a price is not known.
    #[must_use]
    pub fn most(&self, input: u64, output: u64, terms: Terms<'_>) -> Option<Money> {
        let rows = self.rows(input, terms);
        let dearest = |buckets: &[usize]| {
            // Whoever asks for a tier may be served as usual.
            let services = [terms.service, Service::Standard];
            let known = buckets
                .iter()
                .flat_map(|&bucket| services.map(|service| price(&rows, bucket, service)));
            known.flatten().max()
        };
        let part = |count: u64, price: Option<Price>| match count {
            0 => Some(0),
            _ => Some(i128::from(count).saturating_mul(price?.into())),
        };
        let dearest_input = dearest(&[INPUT, CACHE_READ, CACHE_WRITE, CACHE_WRITE_HOUR]);
        let mut pico = i128::from(self.fee.pico());
        pico = pico.saturating_add(part(input, dearest_input)?);
        pico = pico.saturating_add(part(output, dearest(&[OUTPUT, THINKING]))?);
        for (name, ratio) in &self.multipliers {
            if terms.multipliers.contains(&&**name) {
                pico = pico.saturating_mul(i128::from(*ratio)).div_euclid(1000) + 1;
            }
        }
        Some(Money::saturated(pico))
    }

    /// Prices as usual with the names that [`Self::set`] takes, for people: name and dollars.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let tokens = BUCKET_NAMES.iter().zip(self.base.standard);
        let tokens = tokens.filter_map(|(name, price)| {
            let money = Money::saturated(i128::from(price?).saturating_mul(1_000_000));
            Some((*name, money.to_string()))
        });
        let each = [
            ("search", self.search),
            ("image", self.image),
            ("request", Some(self.fee).filter(|fee| *fee != Money::ZERO)),
        ];
        let each = each
            .into_iter()
            .filter_map(|(name, price)| Some((name, price?.to_string())));
        tokens.chain(each)
    }

    /// The rows that hold, the one that is asked first at the front.
    fn rows(&self, total_input: u64, terms: Terms<'_>) -> [Option<&Row>; 3] {
        let is_above = |(above, _): &&(u64, Row)| total_input > *above;
        let off_peak = self.off_peak.as_ref().filter(|(windows, _)| {
            terms.service == Service::Standard
                && windows.iter().any(|window| window.has(terms.start))
        });
        [
            off_peak.map(|(_, row)| row),
            self.above.iter().rev().find(is_above).map(|(_, row)| row),
            Some(&self.base),
        ]
    }

    /// Takes the words of a line that stand behind the capabilities.
    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut prices = Self::default();
        // Which row a price belongs to.
        enum Place {
            Base,
            Above,
            OffPeak,
        }
        let mut place = Place::Base;
        for word in words {
            match (word.as_bytes().first()?, word.get(1..)?) {
                // Some are quotients, with more decimals than there are pico-dollars.
                (b'S', amount) => prices.search = Some(Money::rounded(amount)?),
                (b'G', amount) => prices.image = Some(Money::rounded(amount)?),
                (b'Q', amount) => prices.fee = Money::rounded(amount)?,
                (b'?', _) => prices.has_other_units = true,
                (b'*', multiplier) => {
                    let (name, ratio) = multiplier.split_once('=')?;
                    prices.multipliers.push((name.into(), scaled(ratio, 3)?));
                }
                (b'>', tokens) => {
                    prices.above.push((tokens.parse().ok()?, Row::default()));
                    place = Place::Above;
                }
                (b'~', windows) => {
                    let windows = windows.split(',').map(Window::parse);
                    prices.off_peak = Some((windows.collect::<Option<_>>()?, Row::default()));
                    place = Place::OffPeak;
                }
                _ => match place {
                    Place::Base => prices.base.set(word)?,
                    Place::Above => prices.above.last_mut()?.1.set(word)?,
                    Place::OffPeak => prices.off_peak.as_mut()?.1.set(word)?,
                },
            }
        }
        Some(prices)
    }
}

/// The names of [`BUCKETS`] as people write them.
const BUCKET_NAMES: [&str; BUCKETS.len()] = [
    "in",
    "out",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_in",
    "audio_out",
    "reasoning",
];

fn price(rows: &[Option<&Row>; 3], mut bucket: usize, service: Service) -> Option<Price> {
    loop {
        let found = rows
            .iter()
            .flatten()
            .find_map(|row| row.price(bucket, service));
        if found.is_some() {
            return found;
        }
        bucket = instead(bucket)?;
    }
}

/// A model as the table has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model {
    /// Its name in the table, with a prefix where the table has one.
    pub name: &'static str,
    /// Who offers it, as the table calls them.
    pub provider: &'static str,
    /// What it is for: `chat`, `embedding`, …
    pub mode: &'static str,
    /// The most tokens that go in; `None` if that is not known.
    pub max_input: Option<u64>,
    /// The most tokens that come out; `None` if that is not known.
    pub max_output: Option<u64>,
    /// What it can do; see [`Self::can`].
    capabilities: &'static str,
    /// What it costs.
    pub prices: Prices,
}

/// Something that not every model can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    /// Takes images.
    Vision,
    /// Calls tools.
    Tools,
    /// Calls several tools at once.
    ParallelTools,
    /// Can be made to call a tool.
    ToolChoice,
    /// Answers in the form of a schema.
    JsonSchema,
    /// Takes documents.
    Pdf,
    /// Takes audio.
    AudioInput,
    /// Puts out audio.
    AudioOutput,
    /// Thinks before it answers.
    Reasoning,
    /// Keeps prompts.
    PromptCache,
    /// Searches the web by itself.
    WebSearch,
    /// Takes instructions beside the conversation.
    System,
}

impl Capability {
    /// All of them, with their letters in the table and their words for people.
    pub const ALL: &'static [(Self, char, &'static str)] = &[
        (Self::Vision, 'v', "vision"),
        (Self::Tools, 't', "tools"),
        (Self::ParallelTools, 'T', "parallel tools"),
        (Self::ToolChoice, 'c', "tool choice"),
        (Self::JsonSchema, 'j', "json schema"),
        (Self::Pdf, 'p', "pdf"),
        (Self::AudioInput, 'a', "audio in"),
        (Self::AudioOutput, 'A', "audio out"),
        (Self::Reasoning, 'r', "reasoning"),
        (Self::PromptCache, 'k', "prompt cache"),
        (Self::WebSearch, 'w', "web search"),
        (Self::System, 's', "system"),
    ];
}

impl Model {
    /// Is it known to be able to do this? What is not known says no.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        Capability::ALL
            .iter()
            .any(|&(known, letter, _)| known == capability && self.capabilities.contains(letter))
    }

    /// Takes a line of the table apart.
    fn parse(line: &'static str) -> Option<Self> {
        let mut words = line.split(' ');
        let (name, provider, mode) = (words.next()?, words.next()?, words.next()?);
        let (input, output) = words.next()?.split_once('/')?;
        let limit = |text: &str| text.parse().ok().filter(|&tokens| tokens > 0);
        Some(Self {
            name,
            provider,
            mode,
            max_input: limit(input),
            max_output: limit(output),
            capabilities: words.next()?,
            prices: Prices::parse(words)?,
        })
    }
}

/// The day that the table was made: what a row of the ledger keeps as the version of its price.
#[must_use]
pub fn version() -> &'static str {
    TABLE
        .lines()
        .next()
        .map_or("", |line| line.trim_start_matches("# "))
}

/// All models of the table.
pub fn models() -> impl Iterator<Item = Model> {
    lines().lines().filter_map(Model::parse)
}

/// The model of this very name in the table, without regard to case.
#[must_use]
pub fn exact(name: &str) -> Option<Model> {
    let line = &lines()[position(name)..];
    let line = line.lines().next()?;
    let found = line.split(' ').next()?;
    found
        .eq_ignore_ascii_case(name)
        .then(|| Model::parse(line))?
}

/// The model that a provider calls by this name.
///
/// Tried are the name itself, as the table writes it for this provider, then without a date or
/// `latest` at its end, then its newest form that has a date. A name with a maker in front
/// (`openai/gpt-4o`, as resellers write it) is at last looked up as the maker's. A provider that is
/// not known has no models: what costs something at one place may cost something else, or nothing,
/// at another.
#[must_use]
pub fn find(provider: &str, name: &str) -> Option<Rc<Model>> {
    thread_local! {
        static RECENT: RefCell<VecDeque<Found>> = const { RefCell::new(VecDeque::new()) };
    }

    RECENT.with_borrow_mut(|recent| {
        let is_it = |found: &Found| &*found.provider == provider && &*found.name == name;
        if let Some(found) = recent.iter().find(|found| is_it(found)) {
            return found.model.clone();
        }
        let model = look_up(provider, name).map(Rc::new);
        if name.len() <= LONGEST {
            recent.truncate(RECENT_MOST - 1);
            recent.push_front(Found {
                provider: provider.into(),
                name: name.into(),
                model: model.clone(),
            });
        }
        model
    })
}

/// What [`find`] has found: a call asks several times for the same.
struct Found {
    provider: Box<str>,
    name: Box<str>,
    model: Option<Rc<Model>>,
}

/// So many a thread remembers,
const RECENT_MOST: usize = 16;

/// with names of so many bytes at most.
const LONGEST: usize = 128;

fn look_up(provider: &str, name: &str) -> Option<Model> {
    let family = family(provider)?;
    let undated = undated(name);
    let own = |name: &str| {
        family.prefixes.iter().find_map(|prefix| {
            exact(&format!("{prefix}{name}")).filter(|model| family.offers(model))
        })
    };
    let newest = |name: &str| {
        family.prefixes.iter().find_map(|prefix| {
            newest_dated(&format!("{prefix}{name}")).filter(|model| family.offers(model))
        })
    };
    own(name)
        .or_else(|| own(undated?))
        .or_else(|| newest(undated.unwrap_or(name)))
        .or_else(|| {
            let (maker, rest) = name.split_once('/')?;
            let is_reseller = family.prefixes.is_empty() || maker == provider;
            is_reseller.then(|| find_of_maker(maker, rest))?
        })
}

fn find_of_maker(maker: &str, name: &str) -> Option<Model> {
    // Resellers write points where makers write strokes: `claude-sonnet-4.5`.
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    // No maker in a maker: this ends.
    (!name.contains('/'))
        .then(|| look_up(maker, name).or_else(|| look_up(maker, &name.replace('.', "-"))))?
}

/// How the table writes the models of a provider.
struct Family {
    /// What stands before their names, in the order of trying.
    prefixes: &'static [&'static str],
    /// How the names of providers in the table begin.
    providers: &'static [&'static str],
}

impl Family {
    fn offers(&self, model: &Model) -> bool {
        self.providers
            .iter()
            .any(|provider| model.provider.starts_with(provider))
    }
}

/// By the words of our presets and those of the table.
fn family(provider: &str) -> Option<Family> {
    let (prefixes, providers): (&[&str], &[&str]) = match provider {
        "openai" => (&["", "openai/"], &["openai", "text-completion-openai"]),
        "azure" => (&["azure/", "azure_ai/"], &["azure"]),
        "anthropic" => (&["", "anthropic/"], &["anthropic"]),
        "gemini" | "google" => (&["gemini/", ""], &["gemini", "vertex_ai"]),
        "vertex" | "vertex_ai" => (&["vertex_ai/", ""], &["vertex_ai"]),
        "bedrock" => (&["", "bedrock/"], &["bedrock"]),
        "together" | "together_ai" => (&["together_ai/", ""], &["together_ai"]),
        "fireworks" | "fireworks_ai" => (
            &["fireworks_ai/", "fireworks_ai/accounts/fireworks/models/"],
            &["fireworks_ai"],
        ),
        "mistral" | "mistralai" => (&["mistral/"], &["mistral"]),
        "xai" | "x-ai" => (&["xai/"], &["xai"]),
        "deepseek" => (&["deepseek/", ""], &["deepseek"]),
        "moonshot" | "moonshotai" => (&["moonshot/"], &["moonshot"]),
        "dashscope" | "qwen" => (&["dashscope/"], &["dashscope"]),
        "zai" | "z-ai" => (&["zai/"], &["zai"]),
        "cohere" => (&["", "cohere/"], &["cohere"]),
        "ai21" => (&[""], &["ai21"]),
        "groq" => (&["groq/"], &["groq"]),
        "cerebras" => (&["cerebras/"], &["cerebras"]),
        "perplexity" => (&["perplexity/"], &["perplexity"]),
        "deepinfra" => (&["deepinfra/"], &["deepinfra"]),
        "novita" => (&["novita/"], &["novita"]),
        "nebius" => (&["nebius/"], &["nebius"]),
        "hyperbolic" => (&["hyperbolic/"], &["hyperbolic"]),
        "sambanova" => (&["sambanova/"], &["sambanova"]),
        "replicate" => (&["replicate/"], &["replicate"]),
        "cloudflare" => (&["cloudflare/"], &["cloudflare"]),
        "minimax" => (&["minimax/"], &["minimax"]),
        "voyage" => (&["voyage/"], &["voyage"]),
        "jina" | "jina_ai" => (&["", "jina_ai/"], &["jina_ai"]),
        "ollama" => (&["ollama/"], &["ollama"]),
        // They sell what others make, at the others' prices.
        "openrouter" | "xroute" => (&[], &[]),
        _ => return None,
    };
    Some(Family {
        prefixes,
        providers,
    })
}

/// The name without what says which of its forms is meant, if it has that.
fn undated(name: &str) -> Option<&str> {
    for end in ["-latest", ":latest", "@latest", "@default"] {
        if let Some(stem) = name.strip_suffix(end) {
            return Some(stem);
        }
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // `-20250929`, `@20250929` or `-2024-08-06`.
    let at = name.len().checked_sub(9)?;
    if let Some((stem, end)) = name.split_at_checked(at)
        && end.starts_with(['-', '@'])
        && end[1..].starts_with("20")
        && digits(&end[1..])
    {
        return Some(stem);
    }
    let at = name.len().checked_sub(11)?;
    let (stem, end) = name.split_at_checked(at)?;
    let parts = end.as_bytes();
    let is_date = [0, 5, 8].iter().all(|&at| parts[at] == b'-')
        && end[1..].starts_with("20")
        && digits(&end.replace('-', ""));
    is_date.then_some(stem)
}

/// The last of the names that are this one and a date.
fn newest_dated(name: &str) -> Option<Model> {
    ["-20", "@20"].iter().find_map(|start| {
        let start = format!("{name}{start}");
        let dated = lines()[position(&start)..].lines().take_while(|line| {
            line.get(..start.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(&start))
        });
        let is_this = |line: &&str| {
            let found = line.split(' ').next().unwrap_or_default();
            undated(found).is_some_and(|stem| stem.len() == name.len())
        };
        Model::parse(dated.filter(is_this).last()?)
    })
}

/// The table without the lines about itself.
fn lines() -> &'static str {
    let mut rest = TABLE;
    while let Some((line, next)) = rest.split_once('\n')
        && line.starts_with('#')
    {
        rest = next;
    }
    rest
}

/// Where the first line stands whose name is not before this one.
fn position(name: &str) -> usize {
    let text = lines();
    let bytes = text.as_bytes();
    let (mut low, mut high) = (0, text.len());
    while low < high {
        let middle = low.midpoint(high);
        let start = bytes[..middle]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1)
            .max(low);
        let line = &bytes[start..];
        let end = line
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap_or(line.len());
        let found = line[..end].split(|&byte| byte == b' ').next();
        match compare(found.unwrap_or_default(), name.as_bytes()) {
            Ordering::Less => low = (start + end + 1).min(text.len()),
            Ordering::Equal | Ordering::Greater => high = start,
        }
    }
    low
}

fn compare(first: &[u8], second: &[u8]) -> Ordering {
    let first = first.iter().map(u8::to_ascii_lowercase);
    first.cmp(second.iter().map(u8::to_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by `tests/llm/prices.py`, which computes them from the origin of the table.
    const VECTORS: &str = include_str!("../../tests/llm/prices.tsv");

    #[test]
    fn every_cost_is_what_decimal_arithmetic_makes_of_the_origin_of_the_table() {
        let mut count = 0;
        let mut names = std::collections::HashSet::new();
        for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
            let parts: Vec<&str> = line.split('\t').collect();
            let [name, service, start, multipliers, usage, expected] = parts[..] else {
                panic!("`{line}` has six parts");
            };
            let model = exact(name).expect(name);
            let usage: Vec<u64> = usage
                .split(',')
                .map(|count| count.parse().expect(line))
                .collect();
            let usage = Usage {
                input: usage[0],
                cache_read: usage[1],
                cache_write_5m: usage[2],
                cache_write_1h: usage[3],
                audio_input: usage[4],
                output: usage[5],
                reasoning: usage[6],
                audio_output: usage[7],
                web_searches: usage[8],
                images: usage[9],
            };
            let multipliers: Vec<&str> = multipliers.split('+').collect();
            let terms = Terms {
                service: Service::of(service),
                start: start.parse().expect(line),
                multipliers: &multipliers,
            };
            let cost = model.prices.cost(&usage, terms);
            let cost = cost.map_or("-".to_owned(), |cost| cost.pico().to_string());
            assert_eq!(cost, expected, "{line}");
            names.insert(name);
            count += 1;
        }
        assert!(count > 3500, "{count}");
        assert_eq!(names.len(), models().count());
    }

    #[test]
    fn every_line_of_the_table_is_understood_and_found_by_its_name() {
        let count = lines().lines().count();
        assert_eq!(models().count(), count);
        assert!(count > 2700);
        for model in models() {
            let found = exact(&model.name.to_ascii_uppercase()).expect(model.name);
            assert_eq!(found, model);
        }
        assert_eq!(version().len(), "2026-11-21".len());
        for absent in ["", "a", "gpt-4o ", "zzz", "\u{fffd}", "gpt-4o\n"] {
            assert_eq!(exact(absent), None, "{absent:?}");
        }
    }

    #[test]
    fn a_model_is_found_as_its_provider_calls_it() {
        let found = |provider, name| find(provider, name).map(|model| model.name);
        assert_eq!(found("openai", "gpt-4o"), Some("gpt-4o"));
        assert_eq!(found("openai", "GPT-4o-2099-01-01"), Some("gpt-4o"));
        assert_eq!(found("azure", "gpt-4o"), Some("azure/gpt-4o"));
        assert_eq!(
            found("anthropic", "claude-sonnet-4-5"),
            Some("claude-sonnet-4-5")
        );
        assert_eq!(
            found("anthropic", "claude-sonnet-4-5-20991231"),
            Some("claude-sonnet-4-5")
        );
        assert_eq!(
            found("gemini", "gemini-2.5-pro"),
            Some("gemini/gemini-2.5-pro")
        );
        assert_eq!(
            found("gemini", "gemini-2.5-pro-latest"),
            Some("gemini/gemini-2.5-pro")
        );
        assert_eq!(found("openrouter", "openai/gpt-4o"), Some("gpt-4o"));
        assert_eq!(
            found("openrouter", "anthropic/claude-sonnet-4.5"),
            Some("claude-sonnet-4-5")
        );
        assert_eq!(found("openai", "openai/gpt-4o"), Some("gpt-4o"));
        // What one provider charges says nothing of another.
        assert_eq!(found("anthropic", "gpt-4o"), None);
        assert_eq!(found("my-own", "gpt-4o"), None);
        assert_eq!(found("openai", "gpt-4o-something"), None);
        assert_eq!(found("openrouter", "gpt-4o"), None);
    }

    #[test]
    fn a_name_without_a_date_is_the_newest_with_one() {
        let dated = models()
            .filter(|model| {
                model.provider == "openai"
                    && model.name.ends_with(|last: char| last.is_ascii_digit())
            })
            .filter_map(|model| Some((model.name, undated(model.name)?)))
            .find(|(_, stem)| exact(stem).is_none());
        let (_, stem) = dated.expect("a model that has dated names only");
        let found = find("openai", stem).expect(stem);
        assert_eq!(undated(found.name), Some(stem));
    }

    #[test]
    fn a_price_that_is_missing_is_not_nothing() {
        let mut prices = Prices::default();
        let usage = Usage {
            input: 1,
            ..Usage::default()
        };
        assert_eq!(prices.cost(&usage, Terms::default()), None);
        assert_eq!(prices.most(1, 0, Terms::default()), None);
        assert!(prices.set("in", "0"));
        assert_eq!(prices.cost(&usage, Terms::default()), Some(Money::ZERO));
        let usage = Usage {
            output: 1,
            web_searches: 1,
            ..Usage::default()
        };
        assert_eq!(prices.cost(&usage, Terms::default()), None);
    }

    #[test]
    fn a_person_may_set_every_price_and_nothing_else() {
        let mut prices = Prices::default();
        for name in BUCKET_NAMES {
            assert!(prices.set(name, "2.5"), "{name}");
        }
        assert!(prices.set("batch_in", "$1.25") && prices.set("flex_cache_write", "1"));
        assert!(prices.set("search", "0.01") && prices.set("image", "0.04"));
        for (name, dollars) in [
            ("batch_audio_in", "1"),
            ("input", "1"),
            ("in", "-1"),
            ("in", "0.0000001"),
            ("in", ""),
            ("", "1"),
            ("search", "x"),
        ] {
            assert!(!prices.set(name, dollars), "{name}={dollars}");
        }
        let usage = Usage {
            input: 1_000_000,
            ..Usage::default()
        };
        let terms = Terms {
            service: Service::Batch,
            ..Terms::default()
        };
        let cost = prices.cost(&usage, terms).expect("known");
        assert_eq!(cost.to_string(), "1.25");
        assert_eq!(prices.shown().next(), Some(("in", "2.50".to_owned())));
    }

    #[test]
    fn the_largest_numbers_stop_at_the_end() {
        let mut prices = Prices::default();
        assert!(prices.set("in", "10000000000000") && prices.set("out", "1"));
        let usage = Usage {
            input: u64::MAX,
            output: u64::MAX,
            ..Usage::default()
        };
        assert_eq!(prices.cost(&usage, Terms::default()), Some(Money::MAX));
        let most = prices.most(u64::MAX, u64::MAX, Terms::default());
        assert_eq!(most, Some(Money::MAX));
    }

    proptest! {
        #[test]
        fn no_call_of_text_costs_more_than_was_said_before(
            place in 0..2700_usize,
            counts in proptest::array::uniform6(0..200_000_u64),
            service in 0..4_u8,
            start in 1_700_000_000..1_800_000_000_u64,
        ) {
            let line = lines().lines().nth(place).expect("a line");
            let model = Model::parse(line).expect("a model");
            let usage = Usage {
                input: counts[0],
                cache_read: counts[1],
                cache_write_5m: counts[2],
                cache_write_1h: counts[3],
                output: counts[4],
                reasoning: counts[5],
                ..Usage::default()
            };
            let service = [Service::Standard, Service::Batch, Service::Priority, Service::Flex]
                [usize::from(service)];
            let multipliers = ["us", "fast"];
            let terms = Terms { service, start, multipliers: &multipliers };
            let cost = model.prices.cost(&usage, terms);
            let most = model.prices.most(usage.total_input(), usage.total_output(), terms);
            if let (Some(cost), Some(most)) = (cost, most) {
                prop_assert!(cost <= most, "{}: {cost} is more than {most}", model.name);
            }
        }

        #[test]
        fn any_name_is_looked_up_without_panic(name in ".{0,40}", provider in "openai|gemini|openrouter|.*") {
            let _ = (find(&provider, &name), exact(&name), undated(&name));
        }
    }
}
