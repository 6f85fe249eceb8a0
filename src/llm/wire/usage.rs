//! What providers tell of tokens, in each of their spellings, and how clients want to read it.
//!
//! The last word of an answer counts and nothing in it is ever added up: usage comes twice in many streams. A
//! zero that was told is a fact; only what was not told at all may be estimated by somebody else.

use smallvec::SmallVec;

use super::front::Format;
use super::json::{Value, Writer};
use crate::llm::usage::Usage;

/// What was told so far, number by number.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Reported {
    /// All input, caches included (OpenAI, Gemini, Ollama).
    total_input: Option<u64>,
    /// Input outside of caches (Anthropic).
    plain_input: Option<u64>,
    cache_read: Option<u64>,
    /// Writes to a cache whose time is not told.
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    audio_input: Option<u64>,
    /// All output, with thinking.
    total_output: Option<u64>,
    reasoning: Option<u64>,
    audio_output: Option<u64>,
    web_searches: Option<u64>,
    images: Option<u64>,
    tier: Option<String>,
    /// The words for what multiplies a price, each with whether it did (Anthropic).
    fast: Option<bool>,
    us: Option<bool>,
    billed: Option<String>,
}

/// Words of the table of prices for what multiplies a price.
pub type Multipliers = SmallVec<[&'static str; 2]>;

/// Faster than others, and dearer.
pub const FAST: &str = "fast";

/// Answered in the United States alone.
pub const IN_US: &str = "us";

/// The longest name of a tier, and the most digits of a cost, that are kept.
const MAX_WORD: usize = 32;

impl Reported {
    /// Whether the provider told how many tokens went in.
    #[must_use]
    pub const fn has_input(&self) -> bool {
        self.total_input.is_some() || self.plain_input.is_some()
    }

    /// Whether the provider told how many tokens came out.
    #[must_use]
    pub const fn has_output(&self) -> bool {
        self.total_output.is_some()
    }

    /// Takes note that there is no output that could be told: vectors cost their input alone.
    pub fn no_output(&mut self) {
        self.total_output.get_or_insert(0);
    }

    /// Adds what another answer told, where one call took several. What one of them did not tell is not known
    /// of all.
    pub fn add(&mut self, other: &Self) {
        let sum = |one: &mut Option<u64>, other: Option<u64>| {
            *one = one.zip(other).map(|(one, other)| one.saturating_add(other));
        };
        sum(&mut self.total_input, other.total_input);
        sum(&mut self.plain_input, other.plain_input);
        sum(&mut self.cache_read, other.cache_read);
        sum(&mut self.cache_write, other.cache_write);
        sum(&mut self.cache_write_5m, other.cache_write_5m);
        sum(&mut self.cache_write_1h, other.cache_write_1h);
        sum(&mut self.audio_input, other.audio_input);
        sum(&mut self.total_output, other.total_output);
        sum(&mut self.reasoning, other.reasoning);
        sum(&mut self.audio_output, other.audio_output);
        sum(&mut self.web_searches, other.web_searches);
        sum(&mut self.images, other.images);
        self.tier = self
            .tier
            .take()
            .filter(|tier| other.tier.as_ref() == Some(tier));
        self.fast = self.fast.max(other.fast);
        self.us = self.us.max(other.us);
        // A decimal text, which only formats tell that take all inputs at once.
        self.billed = None;
    }

    /// The service tier that the provider says it used, in its own word.
    #[must_use]
    pub fn tier(&self) -> Option<&str> {
        self.tier.as_deref()
    }

    /// What multiplies the price, in the words of the table of prices: what the provider says that it has
    /// done, and of what it does not tell what was asked for.
    pub fn multipliers(&self, asked: &[&'static str]) -> Multipliers {
        let told = [(FAST, self.fast), (IN_US, self.us)];
        let told = told
            .into_iter()
            .filter(|(word, told)| told.unwrap_or(asked.contains(word)));
        told.map(|(word, _)| word).collect()
    }

    /// What the provider says it billed, in dollars, as the number that it sent.
    #[must_use]
    pub fn billed(&self) -> Option<&str> {
        self.billed.as_deref()
    }

    /// Whether the numbers contradict each other: more came from caches than went in, or more was
    /// thought than came out. The totals are kept then, and the row should be marked.
    #[must_use]
    pub fn is_inconsistent(&self) -> bool {
        let parts = self.cached() + u128::from(self.audio_input.unwrap_or(0));
        let out =
            u128::from(self.reasoning.unwrap_or(0)) + u128::from(self.audio_output.unwrap_or(0));
        self.total_input
            .is_some_and(|total| parts > u128::from(total))
            || self
                .total_output
                .is_some_and(|total| out > u128::from(total))
    }

    fn cached(&self) -> u128 {
        let (five, hour) = self.writes();
        u128::from(self.cache_read.unwrap_or(0)) + u128::from(five) + u128::from(hour)
    }

    fn writes(&self) -> (u64, u64) {
        match (self.cache_write_5m, self.cache_write_1h) {
            (None, None) => (self.cache_write.unwrap_or(0), 0),
            (five, hour) => (five.unwrap_or(0), hour.unwrap_or(0)),
        }
    }

    /// The buckets. What was not told is zero in them.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut usage = Usage {
            web_searches: self.web_searches.unwrap_or(0),
            images: self.images.unwrap_or(0),
            ..Usage::default()
        };
        (usage.cache_write_5m, usage.cache_write_1h) = self.writes();
        usage.cache_read = self.cache_read.unwrap_or(0);
        usage.audio_input = self.audio_input.unwrap_or(0);
        if let Some(total) = self.total_input {
            // Parts that are more than the whole give way, the one that costs least to miss first.
            let mut left = total;
            for part in [
                &mut usage.cache_write_1h,
                &mut usage.cache_write_5m,
                &mut usage.audio_input,
                &mut usage.cache_read,
            ] {
                *part = (*part).min(left);
                left -= *part;
            }
            usage.input = left;
        } else {
            usage.input = self.plain_input.unwrap_or(0);
        }
        usage.reasoning = self.reasoning.unwrap_or(0);
        usage.audio_output = self.audio_output.unwrap_or(0);
        let mut left = self.total_output.unwrap_or(0);
        for part in [&mut usage.audio_output, &mut usage.reasoning] {
            *part = (*part).min(left);
            left -= *part;
        }
        usage.output = left;
        usage
    }

    /// Takes over what an answer, or one event of a stream, says beside its content. `root` is the
    /// whole object as the format has it.
    pub fn read(&mut self, format: Format, root: Value<'_>) {
        match format {
            Format::OpenAi => {
                self.tier_of(root.member("service_tier"));
                let usage = root
                    .some("usage")
                    .or_else(|| root.path(&["x_groq", "usage"]));
                if let Some(usage) = usage {
                    self.openai(usage);
                }
            }
            Format::Responses => {
                let response = root.some("response").unwrap_or(root);
                self.tier_of(response.member("service_tier"));
                if let Some(usage) = response.some("usage") {
                    self.openai(usage);
                }
            }
            Format::Anthropic => {
                let usage = root
                    .some("usage")
                    .or_else(|| root.path(&["message", "usage"]));
                if let Some(usage) = usage {
                    self.anthropic(usage);
                } else if let Some(tokens) = root.member("input_tokens") {
                    // The answer of `count_tokens`.
                    self.plain_input = tokens.integer().or(self.plain_input);
                }
            }
            Format::Gemini => {
                if let Some(usage) = root.either("usageMetadata", "usage_metadata") {
                    self.gemini(usage);
                }
            }
            Format::Ollama => {
                let number = |name| root.member(name).and_then(|value| value.integer());
                self.total_input = number("prompt_eval_count").or(self.total_input);
                self.total_output = number("eval_count").or(self.total_output);
            }
        }
    }

    fn tier_of(&mut self, tier: Option<Value<'_>>) {
        if let Some(tier) = tier.and_then(|tier| tier.string())
            && tier.len() <= MAX_WORD
        {
            self.tier = Some(tier.into_owned());
        }
    }

    fn openai(&mut self, usage: Value<'_>) {
        let number =
            |value: Value<'_>, name: &str| value.member(name).and_then(|value| value.integer());
        let either = |one: &str, other: &str| number(usage, one).or_else(|| number(usage, other));
        self.total_input = either("prompt_tokens", "input_tokens").or(self.total_input);
        self.total_output = either("completion_tokens", "output_tokens").or(self.total_output);
        let input = usage
            .some("prompt_tokens_details")
            .or_else(|| usage.some("input_tokens_details"));
        let cached = input
            .and_then(|input| number(input, "cached_tokens"))
            .or_else(|| either("prompt_cache_hit_tokens", "cached_tokens"))
            .or_else(|| number(usage, "cache_read_input_tokens"));
        self.cache_read = cached.or(self.cache_read);
        let written = input
            .and_then(|input| number(input, "cache_write_tokens"))
            .or_else(|| number(usage, "cache_creation_input_tokens"));
        self.cache_write = written.or(self.cache_write);
        let audio = input.and_then(|input| number(input, "audio_tokens"));
        self.audio_input = audio.or(self.audio_input);
        let output = usage
            .some("completion_tokens_details")
            .or_else(|| usage.some("output_tokens_details"));
        if let Some(output) = output {
            self.reasoning = number(output, "reasoning_tokens").or(self.reasoning);
            self.audio_output = number(output, "audio_tokens").or(self.audio_output);
        }
        // Some count thinking beside the completion: then the total gives them away.
        if let (Some(input), Some(output), Some(reasoning), Some(total)) = (
            either("prompt_tokens", "input_tokens"),
            either("completion_tokens", "output_tokens"),
            output.and_then(|output| number(output, "reasoning_tokens")),
            number(usage, "total_tokens"),
        ) && reasoning > 0
            && u128::from(input) + u128::from(output) + u128::from(reasoning) == u128::from(total)
        {
            self.total_output = Some(output.saturating_add(reasoning));
        }
        let searches = usage
            .path(&["server_tool_use", "web_search_requests"])
            .and_then(|value| value.integer())
            .or_else(|| number(usage, "num_search_queries"));
        self.web_searches = searches.or(self.web_searches);
        // A decimal as it was sent, so that not a digit of it is lost.
        if let Some(cost) = usage.some("cost").filter(|cost| cost.number().is_some())
            && cost.span().len() <= MAX_WORD
        {
            self.billed = Some(cost.raw().to_owned());
        }
    }

    fn anthropic(&mut self, usage: Value<'_>) {
        let number =
            |value: Value<'_>, name: &str| value.member(name).and_then(|value| value.integer());
        self.plain_input = number(usage, "input_tokens").or(self.plain_input);
        self.cache_read = number(usage, "cache_read_input_tokens").or(self.cache_read);
        self.cache_write = number(usage, "cache_creation_input_tokens").or(self.cache_write);
        if let Some(writes) = usage.some("cache_creation") {
            self.cache_write_5m =
                number(writes, "ephemeral_5m_input_tokens").or(self.cache_write_5m);
            self.cache_write_1h =
                number(writes, "ephemeral_1h_input_tokens").or(self.cache_write_1h);
        }
        self.total_output = number(usage, "output_tokens").or(self.total_output);
        let thinking = usage.path(&["output_tokens_details", "thinking_tokens"]);
        self.reasoning = thinking
            .and_then(|value| value.integer())
            .or(self.reasoning);
        let searches = usage.path(&["server_tool_use", "web_search_requests"]);
        self.web_searches = searches
            .and_then(|value| value.integer())
            .or(self.web_searches);
        self.tier_of(usage.member("service_tier"));
        let is = |name: &str, word: &str| usage.some(name).map(|value| value.is(word));
        self.fast = is("speed", "fast").or(self.fast);
        self.us = is("inference_geo", "us").or(self.us);
    }

    fn gemini(&mut self, usage: Value<'_>) {
        let number =
            |one: &str, other: &str| usage.either(one, other).and_then(|value| value.integer());
        let prompt = number("promptTokenCount", "prompt_token_count");
        let tools = number("toolUsePromptTokenCount", "tool_use_prompt_token_count").unwrap_or(0);
        let input = prompt.map(|prompt| prompt.saturating_add(tools));
        self.total_input = input.or(self.total_input);
        self.cache_read =
            number("cachedContentTokenCount", "cached_content_token_count").or(self.cache_read);
        let thoughts = number("thoughtsTokenCount", "thoughts_token_count");
        let shown = number("candidatesTokenCount", "candidates_token_count");
        let total = number("totalTokenCount", "total_token_count");
        self.reasoning = thoughts.or(self.reasoning);
        // Zeros are left out on this wire; the total tells then.
        self.total_output = match (shown, thoughts, total, input) {
            (Some(shown), thoughts, ..) => Some(shown.saturating_add(thoughts.unwrap_or(0))),
            (None, _, Some(total), Some(input)) => Some(total.saturating_sub(input)),
            (None, Some(thoughts), ..) => Some(thoughts),
            _ => self.total_output,
        };
        let audio = |one: &str, other: &str| {
            let details = usage.either(one, other)?;
            let part = details
                .items()
                .find(|part| part.member("modality").is_some_and(|kind| kind.is("AUDIO")))?;
            part.either("tokenCount", "token_count")?.integer()
        };
        self.audio_input =
            audio("promptTokensDetails", "prompt_tokens_details").or(self.audio_input);
        self.audio_output =
            audio("candidatesTokensDetails", "candidates_tokens_details").or(self.audio_output);
        self.tier_of(usage.either("serviceTier", "service_tier"));
    }
}

/// Writes usage as a client of a format reads it: the value of `usage`, for Gemini of `usageMetadata`, for
/// Ollama the members themselves.
pub fn write(format: Format, usage: &Usage, out: &mut Writer) {
    let writes = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    let (input, output) = (usage.total_input(), usage.total_output());
    let total = input.saturating_add(output);
    match format {
        Format::OpenAi => {
            out.open().key("prompt_tokens").integer(input);
            out.key("completion_tokens").integer(output);
            out.key("total_tokens").integer(total);
            out.key("prompt_tokens_details").open();
            out.key("cached_tokens").integer(usage.cache_read);
            out.key("cache_write_tokens").integer(writes);
            out.key("audio_tokens").integer(usage.audio_input).close();
            out.key("completion_tokens_details").open();
            out.key("reasoning_tokens").integer(usage.reasoning);
            out.key("audio_tokens").integer(usage.audio_output).close();
            out.close();
        }
        Format::Responses => {
            out.open().key("input_tokens").integer(input);
            out.key("input_tokens_details").open();
            out.key("cached_tokens").integer(usage.cache_read);
            out.key("cache_write_tokens").integer(writes).close();
            out.key("output_tokens").integer(output);
            out.key("output_tokens_details").open();
            out.key("reasoning_tokens").integer(usage.reasoning).close();
            out.key("total_tokens").integer(total).close();
        }
        Format::Anthropic => {
            let plain = usage.input.saturating_add(usage.audio_input);
            out.open().key("input_tokens").integer(plain);
            out.key("cache_creation_input_tokens").integer(writes);
            out.key("cache_read_input_tokens").integer(usage.cache_read);
            out.key("cache_creation").open();
            out.key("ephemeral_5m_input_tokens")
                .integer(usage.cache_write_5m);
            out.key("ephemeral_1h_input_tokens")
                .integer(usage.cache_write_1h)
                .close();
            out.key("output_tokens").integer(output);
            out.key("output_tokens_details").open();
            out.key("thinking_tokens").integer(usage.reasoning).close();
            if usage.web_searches > 0 {
                out.key("server_tool_use").open();
                out.key("web_search_requests")
                    .integer(usage.web_searches)
                    .close();
            }
            out.close();
        }
        Format::Gemini => {
            let shown = output.saturating_sub(usage.reasoning);
            out.open().key("promptTokenCount").integer(input);
            out.key("candidatesTokenCount").integer(shown);
            if usage.reasoning > 0 {
                out.key("thoughtsTokenCount").integer(usage.reasoning);
            }
            if usage.cache_read > 0 {
                out.key("cachedContentTokenCount").integer(usage.cache_read);
            }
            out.key("totalTokenCount").integer(total).close();
        }
        Format::Ollama => {
            out.key("prompt_eval_count").integer(input);
            out.key("eval_count").integer(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::{Duplicates, Index};
    use super::*;

    fn reported(format: Format, texts: &[&str]) -> Reported {
        let mut reported = Reported::default();
        for text in texts {
            let mut index = Index::new();
            let root = index
                .read(text.as_bytes(), Duplicates::LastCounts)
                .expect("JSON");
            reported.read(format, root);
        }
        reported
    }

    fn buckets(format: Format, texts: &[&str]) -> [u64; 6] {
        let usage = reported(format, texts).usage();
        [
            usage.input,
            usage.cache_read,
            usage.cache_write_5m,
            usage.cache_write_1h,
            usage.output,
            usage.reasoning,
        ]
    }

    #[test]
    fn every_spelling_comes_into_the_same_buckets() {
        let openai = r#"{"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
            "prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":20}}}"#;
        assert_eq!(buckets(Format::OpenAi, &[openai]), [30, 60, 10, 0, 30, 20]);
        let responses = r#"{"type":"response.completed","response":{"usage":{"input_tokens":100,"output_tokens":50,
            "input_tokens_details":{"cached_tokens":60},"output_tokens_details":{"reasoning_tokens":20}}}}"#;
        assert_eq!(
            buckets(Format::Responses, &[responses]),
            [40, 60, 0, 0, 30, 20]
        );
        let anthropic = r#"{"usage":{"input_tokens":30,"cache_read_input_tokens":60,"cache_creation_input_tokens":10,
            "cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":6},"output_tokens":50,"output_tokens_details":{"thinking_tokens":20}}}"#;
        assert_eq!(
            buckets(Format::Anthropic, &[anthropic]),
            [30, 60, 4, 6, 30, 20]
        );
        let gemini = r#"{"usageMetadata":{"promptTokenCount":90,"toolUsePromptTokenCount":10,"cachedContentTokenCount":60,
            "candidatesTokenCount":30,"thoughtsTokenCount":20,"totalTokenCount":150}}"#;
        assert_eq!(buckets(Format::Gemini, &[gemini]), [40, 60, 0, 0, 30, 20]);
        let ollama = r#"{"done":true,"prompt_eval_count":100,"eval_count":50}"#;
        assert_eq!(buckets(Format::Ollama, &[ollama]), [100, 0, 0, 0, 50, 0]);
    }

    #[test]
    fn other_spellings_of_openai_are_known() {
        for (text, expected) in [
            (
                r#"{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}}"#,
                [6, 4, 0, 0, 5, 0],
            ),
            (
                r#"{"usage":{"prompt_tokens":10,"completion_tokens":5,"cached_tokens":4}}"#,
                [6, 4, 0, 0, 5, 0],
            ),
            (
                r#"{"x_groq":{"usage":{"prompt_tokens":10,"completion_tokens":5}}}"#,
                [10, 0, 0, 0, 5, 0],
            ),
            (
                r#"{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":22,"completion_tokens_details":{"reasoning_tokens":7}}}"#,
                [10, 0, 0, 0, 5, 7],
            ),
            (
                r#"{"usage":{"prompt_tokens":10,"completion_tokens":7,"total_tokens":17,"completion_tokens_details":{"reasoning_tokens":7}}}"#,
                [10, 0, 0, 0, 0, 7],
            ),
            (r#"{"usage":null}"#, [0; 6]),
        ] {
            assert_eq!(buckets(Format::OpenAi, &[text]), expected, "{text}");
        }
        let billed = r#"{"service_tier":"flex","usage":{"prompt_tokens":1,"completion_tokens":1,"cost":0.00001234}}"#;
        let told = reported(Format::OpenAi, &[billed]);
        assert_eq!(
            (told.billed(), told.tier()),
            (Some("0.00001234"), Some("flex"))
        );
    }

    #[test]
    fn the_last_word_counts_and_nothing_is_added() {
        let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":25,"cache_read_input_tokens":7,"output_tokens":8}}}"#;
        let end = r#"{"type":"message_delta","usage":{"output_tokens":15}}"#;
        assert_eq!(
            buckets(Format::Anthropic, &[start, end]),
            [25, 7, 0, 0, 15, 0]
        );
        let corrected = r#"{"type":"message_delta","usage":{"input_tokens":30,"cache_read_input_tokens":0,"output_tokens":15}}"#;
        assert_eq!(
            buckets(Format::Anthropic, &[start, corrected]),
            [30, 0, 0, 0, 15, 0]
        );
        let chunk = r#"{"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
        assert_eq!(
            buckets(Format::OpenAi, &[chunk, chunk]),
            [10, 0, 0, 0, 5, 0]
        );
        let growing = r#"{"usage":{"prompt_tokens":10,"completion_tokens":6}}"#;
        assert_eq!(
            buckets(Format::OpenAi, &[chunk, growing]),
            [10, 0, 0, 0, 6, 0]
        );
    }

    #[test]
    fn a_zero_is_a_fact_and_silence_is_not() {
        let told = reported(
            Format::OpenAi,
            &[r#"{"usage":{"prompt_tokens":0,"completion_tokens":0}}"#],
        );
        assert!(told.has_input() && told.has_output());
        let told = reported(Format::Ollama, &[r#"{"done":true,"eval_count":3}"#]);
        assert!(!told.has_input() && told.has_output());
        let told = reported(
            Format::Gemini,
            &[r#"{"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}"#],
        );
        assert!(told.has_input() && told.has_output());
        assert_eq!(told.usage().total_output(), 0);
    }

    #[test]
    fn numbers_that_contradict_each_other_keep_the_total() {
        let text = r#"{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":9}}}"#;
        let told = reported(Format::OpenAi, &[text]);
        assert!(told.is_inconsistent());
        assert_eq!(
            (told.usage().total_input(), told.usage().total_output()),
            (10, 5)
        );
        let largest = r#"{"usage":{"prompt_tokens":18446744073709551615,"completion_tokens":18446744073709551615,"total_tokens":1,
            "prompt_tokens_details":{"cached_tokens":18446744073709551615,"cache_write_tokens":18446744073709551615},"completion_tokens_details":{"reasoning_tokens":18446744073709551615}}}"#;
        assert_eq!(
            reported(Format::OpenAi, &[largest]).usage().total_input(),
            u64::MAX
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let usage = Usage {
            input: 30,
            cache_read: 60,
            cache_write_5m: 10,
            output: 30,
            reasoning: 20,
            ..Usage::default()
        };
        for format in [Format::OpenAi, Format::Responses, Format::Anthropic] {
            let mut out = Writer::new();
            out.open().key("usage");
            write(format, &usage, &mut out);
            out.close();
            assert_eq!(
                reported(format, &[&out.finish()]).usage(),
                usage,
                "{format:?}"
            );
        }
        let mut out = Writer::new();
        out.open().key("usageMetadata");
        write(Format::Gemini, &usage, &mut out);
        out.close();
        let told = reported(Format::Gemini, &[&out.finish()]).usage();
        assert_eq!(
            (
                told.total_input(),
                told.cache_read,
                told.reasoning,
                told.output
            ),
            (100, 60, 20, 30)
        );
        let mut out = Writer::new();
        out.open();
        write(Format::Ollama, &usage, &mut out);
        out.close();
        let told = reported(Format::Ollama, &[&out.finish()]).usage();
        assert_eq!((told.total_input(), told.total_output()), (100, 50));
    }
}
