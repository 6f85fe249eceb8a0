//! How long things took: few buckets, a bounded relative error.
//!
//! Four buckets per octave from 62.5 µs to 17 minutes, one below and one above. The bounds are 1,
//! 1.25, 1.5 and 1.75 times a power of two of milliseconds, so that round limits such as 5 ms, 10 ms
//! or 640 ms are bounds and what is counted up to them is exact. A [`Histogram`] is written by one
//! thread with plain loads and stores; a [`Snapshot`] is what a reader makes of one or of many.

use std::time::Duration;

use super::registry::Counter;

/// How many buckets there are.
pub const BUCKETS: usize = 2 + (OCTAVES * 4) as usize;

const OCTAVES: u32 = 24;
/// A quarter of the least bound, in nanoseconds: what the bounds are whole multiples of.
const UNIT: u64 = 15_625;

/// Counts of one writer.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, nanoseconds: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(nanoseconds)) {
            bucket.increase();
        }
    }

    /// Adds what was counted so far.
    pub fn add_to(&self, sum: &mut Snapshot) {
        for (sum, bucket) in sum.0.iter_mut().zip(&self.buckets) {
            *sum = sum.saturating_add(bucket.value());
        }
    }

    /// Takes over what another counted.
    pub fn add(&self, counted: &Snapshot) {
        for (bucket, count) in self.buckets.iter().zip(&counted.0) {
            bucket.add(*count);
        }
    }
}

/// Counts at a moment, or between two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot([u64; BUCKETS]);

impl Default for Snapshot {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Snapshot {
    /// All that was counted.
    pub fn count(&self) -> u64 {
        (self.0.iter()).fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// Counts one duration.
    pub fn record(&mut self, nanoseconds: u64) {
        if let Some(bucket) = self.0.get_mut(bucket_of(nanoseconds)) {
            *bucket += 1;
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// What was counted since an earlier moment.
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|bucket| {
            self.0[bucket].saturating_sub(before.0[bucket])
        }))
    }

    /// The buckets that hold anything, with their counts.
    pub fn filled(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        (0..)
            .zip(&self.0)
            .filter(|(_, count)| **count != 0)
            .map(|(bucket, count)| (bucket, *count))
    }

    /// Puts counts into one bucket.
    pub fn add_bucket(&mut self, bucket: u8, count: u64) {
        if let Some(sum) = self.0.get_mut(usize::from(bucket)) {
            *sum = sum.saturating_add(count);
        }
    }

    /// Takes counts out of one bucket.
    pub fn take_bucket(&mut self, bucket: u8, count: u64) {
        if let Some(sum) = self.0.get_mut(usize::from(bucket)) {
            *sum = sum.saturating_sub(count);
        }
    }

    /// How many were not longer than this. Exact where it is the bound of a bucket.
    pub fn up_to(&self, nanoseconds: u64) -> u64 {
        let last = bucket_of(nanoseconds).min(BUCKETS - 1);
        (self.0[..=last].iter()).fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// The durations, in microseconds, that these shares (from 0 to 1, rising) did not exceed: the
    /// middle of a bucket, so at most an eighth off between the least and the greatest bound; zeros
    /// if nothing was counted.
    pub fn percentiles<const N: usize>(&self, shares: [f64; N]) -> [u64; N] {
        let count = self.count();
        let mut found = [0; N];
        if count == 0 {
            return found;
        }
        let mut seen: u64 = 0;
        let mut bucket = 0;
        for (share, found) in shares.iter().zip(&mut found) {
            let rank = ((share * count as f64).ceil() as u64).clamp(1, count);
            while seen.saturating_add(self.0[bucket]) < rank {
                seen += self.0[bucket];
                bucket += 1;
            }
            *found = middle(bucket) / 1000;
        }
        found
    }
}

/// A whole number of nanoseconds, as what is measured fits: 584 years.
pub fn nanoseconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::from(duration.subsec_nanos()))
}

/// The bucket of a duration. A bucket holds its upper bound and not its lower one.
fn bucket_of(nanoseconds: u64) -> usize {
    let units = nanoseconds.saturating_sub(1) / UNIT;
    if units < 4 {
        return 0;
    }
    let octave = units.ilog2() - 2;
    if octave >= OCTAVES {
        return BUCKETS - 1;
    }
    1 + (octave * 4 + ((units >> octave) & 3) as u32) as usize
}

/// The lower bound of a bucket in nanoseconds.
fn lower(bucket: usize) -> u64 {
    match bucket {
        0 => 0,
        _ => {
            let step = bucket as u64 - 1;
            ((4 + (step & 3)) << (step >> 2)) * UNIT
        }
    }
}

/// What stands for all durations of a bucket, in nanoseconds.
fn middle(bucket: usize) -> u64 {
    match bucket {
        // Above the greatest bound nothing better is known.
        _ if bucket >= BUCKETS - 1 => lower(BUCKETS - 1),
        _ => (lower(bucket) + lower(bucket + 1)) / 2,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn the_bounds_rise_and_hold_their_own_value() {
        for bucket in 1..BUCKETS {
            assert!(lower(bucket) > lower(bucket - 1));
            assert_eq!(bucket_of(lower(bucket)), bucket - 1);
            assert_eq!(bucket_of(lower(bucket) + 1), bucket);
        }
        assert_eq!(lower(1), 62_500);
        assert!(lower(BUCKETS - 1) > 17 * 60 * 1_000 * MILLISECOND);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn round_limits_are_counted_exactly() {
        for limit in [1_000, 2_500, 5_000, 10_000, 640_000, 10_240_000] {
            let mut counted = Snapshot::default();
            counted.record(limit * 1000);
            counted.record(limit * 1000 + 1);
            assert_eq!(counted.up_to(limit * 1000), 1, "{limit} µs");
        }
    }

    #[test]
    fn nothing_counted_has_no_percentiles() {
        assert_eq!(Snapshot::default().percentiles([0.5, 0.99]), [0, 0]);
    }

    fn durations() -> impl Strategy<Value = Vec<u64>> {
        // Even over the octaves, as real ones are.
        let one = (16..40u32, 0.0..1.0f64)
            .prop_map(|(octave, part)| ((1u64 << octave) as f64 * (1.0 + part)) as u64);
        prop::collection::vec(one, 1..400)
    }

    proptest! {
        #[test]
        fn a_percentile_is_at_most_an_eighth_off(
            mut durations in durations(),
            share in 0.0..=1.0f64,
        ) {
            let histogram = Histogram::default();
            for duration in &durations {
                histogram.record(*duration);
            }
            let mut counted = Snapshot::default();
            histogram.add_to(&mut counted);
            durations.sort_unstable();
            let rank = ((share * durations.len() as f64).ceil() as usize).clamp(1, durations.len());
            let exact = durations[rank - 1] as f64 / 1000.0;
            let [found] = counted.percentiles([share]);
            prop_assert!((found as f64 - exact).abs() <= exact / 8.0 + 1.0, "{found} for {exact}");
        }

        #[test]
        fn many_percentiles_at_once_are_those_asked_for_one_by_one(durations in durations()) {
            let mut counted = Snapshot::default();
            for duration in &durations {
                counted.record(*duration);
            }
            let shares = [0.0, 0.5, 0.5, 0.9, 0.99, 1.0];
            let each = shares.map(|share| counted.percentiles([share])[0]);
            prop_assert_eq!(counted.percentiles(shares), each);
        }

        #[test]
        fn what_came_between_two_moments_is_what_was_recorded_then(
            before in durations(),
            after in durations(),
        ) {
            let histogram = Histogram::default();
            let read = || {
                let mut counted = Snapshot::default();
                histogram.add_to(&mut counted);
                counted
            };
            before.iter().for_each(|duration| histogram.record(*duration));
            let first = read();
            after.iter().for_each(|duration| histogram.record(*duration));
            let second = read();
            let mut expected = Snapshot::default();
            after.iter().for_each(|duration| expected.record(*duration));
            prop_assert_eq!(&second.since(&first), &expected);
            prop_assert_eq!(expected.count(), after.len() as u64);
            let mut merged = first;
            merged.merge(&expected);
            prop_assert_eq!(&merged, &second);
            let mut sparse = Snapshot::default();
            for (bucket, count) in second.filled() {
                sparse.add_bucket(bucket, count);
            }
            prop_assert_eq!(&sparse, &second);
        }
    }
}
