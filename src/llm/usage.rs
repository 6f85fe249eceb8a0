//! What a call used, in buckets that do not overlap.
//!
//! Providers count differently: OpenAI's input includes what came from a cache, Anthropic's does not,
//! Gemini's output leaves the thinking out. Everything is brought into this one form before a price
//! is looked at, so that a token is paid for once.

/// The tokens and other units of one call. Every token is in exactly one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Input that was neither read from nor written to the provider's prompt cache, without audio.
    pub input: u64,
    /// Input that the provider read from its prompt cache.
    pub cache_read: u64,
    /// Input written to the prompt cache for five minutes, or for a time that was not told.
    pub cache_write_5m: u64,
    /// Input written to the prompt cache for an hour.
    pub cache_write_1h: u64,
    /// Audio given as input.
    pub audio_input: u64,
    /// Output that a client sees, without audio.
    pub output: u64,
    /// Output spent on thinking.
    pub reasoning: u64,
    /// Audio that came out.
    pub audio_output: u64,
    /// Searches of the web that the provider did by itself. They are counted, not tokens.
    pub web_searches: u64,
    /// Images that came out. They are counted, not tokens.
    pub images: u64,
}

impl Usage {
    /// All tokens that went in: what tiers of prices and limits of a context count.
    #[must_use]
    pub const fn total_input(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.audio_input)
    }

    /// All tokens that came out.
    #[must_use]
    pub const fn total_output(&self) -> u64 {
        self.output
            .saturating_add(self.reasoning)
            .saturating_add(self.audio_output)
    }

    /// What two answers used together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write_5m: self.cache_write_5m.saturating_add(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            audio_input: self.audio_input.saturating_add(other.audio_input),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            audio_output: self.audio_output.saturating_add(other.audio_output),
            web_searches: self.web_searches.saturating_add(other.web_searches),
            images: self.images.saturating_add(other.images),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_count_every_bucket_once_and_never_overflow() {
        let usage = Usage {
            input: 1,
            cache_read: 10,
            cache_write_5m: 100,
            cache_write_1h: 1_000,
            audio_input: 10_000,
            output: 2,
            reasoning: 20,
            audio_output: 200,
            web_searches: 7,
            images: 9,
        };
        assert_eq!((usage.total_input(), usage.total_output()), (11_111, 222));
        let twice = usage.plus(&usage);
        assert_eq!((twice.total_input(), twice.total_output()), (22_222, 444));
        assert_eq!((twice.web_searches, twice.images), (14, 18));
        let most = Usage {
            input: u64::MAX,
            cache_read: 1,
            ..usage
        };
        assert_eq!(most.total_input(), u64::MAX);
    }
}
