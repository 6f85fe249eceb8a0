//! How many requests there were: per minute for two days, per hour for sixty, per day for five years.
//!
//! A request is counted in one row only. The writer folds rows that are old enough into the next
//! coarser step, a few hundred at a time; sums stay as they are, percentiles become means weighted by
//! requests (the true ones of an hour cannot be had from those of its minutes), and the largest time
//! stays the largest.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Reader, StoreError, clipped, integer, natural};

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

/// The longest label in bytes. More is cut off.
const LABEL: usize = 1024;

/// No number of a row is larger: sums over a window stay within SQLite's integers.
const LARGEST: u64 = 1 << 48;

/// What is counted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Series {
    /// All requests.
    Total,
    /// Those of a location.
    Route {
        /// The first name of its server.
        server: String,
        /// The address of its server, as written.
        listen: String,
        /// As written behind `location`; empty for a server without.
        location: String,
    },
    /// Attempts at a peer.
    Peer {
        /// The name of its upstream.
        upstream: String,
        /// Its address.
        address: String,
    },
}

/// The numbers of a minute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rollup {
    /// Of what.
    pub series: Series,
    /// When the minute began, in seconds since 1970. Seconds beyond whole minutes are cut off.
    pub start: u64,
    /// How many. Numbers of the same minute are added to those that are there.
    pub numbers: Numbers,
}

/// Requests over a time. Each number is at most 2^48.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers {
    /// How many requests.
    pub requests: u64,
    /// How many answers, by the hundreds of their status: 1xx to 5xx.
    pub statuses: [u64; 5],
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
    /// The time of all requests together, in microseconds.
    pub time_sum_us: u64,
    /// Half of the requests took no longer, in microseconds.
    pub p50_us: u64,
    /// 99 of 100 requests took no longer, in microseconds.
    pub p99_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
    /// Requests for which a cache was looked into.
    pub looked_up: u64,
    /// Of these, those whose answer was the cache's.
    pub cached: u64,
}

impl Numbers {
    /// Adds the numbers of another time.
    pub fn add(&mut self, other: &Self) {
        let sum = |one: u64, two: u64| one.saturating_add(two).min(LARGEST);
        // Within these bounds the products fit easily.
        let weight = u128::from(self.requests.min(LARGEST));
        let others = u128::from(other.requests.min(LARGEST));
        let mean = |one: u64, two: u64| {
            let (one, two) = (one.min(LARGEST), two.min(LARGEST));
            (u128::from(one) * weight + u128::from(two) * others)
                .checked_div(weight + others)
                .map_or(one.max(two), |mean| mean as u64)
        };
        *self = Self {
            p50_us: mean(self.p50_us, other.p50_us),
            p99_us: mean(self.p99_us, other.p99_us),
            requests: sum(self.requests, other.requests),
            statuses: std::array::from_fn(|class| sum(self.statuses[class], other.statuses[class])),
            received: sum(self.received, other.received),
            sent: sum(self.sent, other.sent),
            time_sum_us: sum(self.time_sum_us, other.time_sum_us),
            max_us: self.max_us.max(other.max_us).min(LARGEST),
            looked_up: sum(self.looked_up, other.looked_up),
            cached: sum(self.cached, other.cached),
        };
    }
}

const COLUMNS: &str = "requests, s1, s2, s3, s4, s5, received, sent, time_sum_us, p50_us, p99_us, max_us, \
                       looked_up, cached";

/// Reads [`COLUMNS`], of which the first stands at a position.
fn numbers(row: &rusqlite::Row<'_>, first: usize) -> Result<Numbers, rusqlite::Error> {
    let at = |column: usize| row.get::<_, i64>(first + column).map(natural);
    Ok(Numbers {
        requests: at(0)?,
        statuses: [at(1)?, at(2)?, at(3)?, at(4)?, at(5)?],
        received: at(6)?,
        sent: at(7)?,
        time_sum_us: at(8)?,
        p50_us: at(9)?,
        p99_us: at(10)?,
        max_us: at(11)?,
        looked_up: at(12)?,
        cached: at(13)?,
    })
}

impl Reader {
    /// The numbers of a series from one time up to another, in seconds since 1970, added up in steps
    /// of so many seconds (60, 3,600 or 86,400; at least one) that begin at multiples of it. Steps
    /// without requests are left out. What is kept in coarser rows than asked for stands in the step
    /// where its row begins.
    pub fn traffic(
        &self,
        series: &Series,
        from: u64,
        until: u64,
        step: u64,
    ) -> Result<Vec<(u64, Numbers)>, StoreError> {
        let step = step.max(1);
        let (kind, first, second, third) = labels(series);
        let rows: Vec<(u64, Numbers)> = self.ask(|connection| {
            connection
                .prepare(&format!(
                    "SELECT start, {COLUMNS} FROM traffic
                     WHERE name = (SELECT id FROM names WHERE kind = ?1 AND first = ?2
                                   AND second = ?3 AND third = ?4)
                     AND start >= ?5 AND start < ?6"
                ))?
                .query_map(
                    params![kind, first, second, third, integer(from), integer(until)],
                    |row| Ok((natural(row.get(0)?), numbers(row, 1)?)),
                )?
                .collect()
        })?;
        let mut steps = BTreeMap::<u64, Numbers>::new();
        for (start, numbers) in rows {
            steps.entry(start / step * step).or_default().add(&numbers);
        }
        Ok(steps.into_iter().collect())
    }
}

/// The columns of `names`.
fn labels(series: &Series) -> (u8, &str, &str, &str) {
    match series {
        Series::Total => (0, "", "", ""),
        Series::Route {
            server,
            listen,
            location,
        } => (
            1,
            clipped(server, LABEL),
            clipped(listen, LABEL),
            clipped(location, LABEL),
        ),
        Series::Peer { upstream, address } => {
            (2, clipped(upstream, LABEL), clipped(address, LABEL), "")
        }
    }
}

/// Keeps the numbers of a minute, or adds them to those that are there.
pub(super) fn insert(connection: &Connection, rollup: &Rollup) -> Result<(), rusqlite::Error> {
    let (kind, first, second, third) = labels(&rollup.series);
    let known = connection
        .query_row(
            "SELECT id FROM names WHERE kind = ?1 AND first = ?2 AND second = ?3 AND third = ?4",
            params![kind, first, second, third],
            |row| row.get(0),
        )
        .optional()?;
    let name = match known {
        Some(name) => name,
        None => connection
            .prepare("INSERT INTO names (kind, first, second, third) VALUES (?1, ?2, ?3, ?4)")?
            .insert(params![kind, first, second, third])?,
    };
    let start = rollup.start.min(LARGEST);
    add(connection, 0, start - start % MINUTE, name, &rollup.numbers)
}

/// Adds numbers to a row, which is made if it is not there.
fn add(
    connection: &Connection,
    step: u8,
    start: u64,
    name: i64,
    numbers: &Numbers,
) -> Result<(), rusqlite::Error> {
    let there = connection
        .query_row(
            &format!("SELECT {COLUMNS} FROM traffic WHERE step = ?1 AND start = ?2 AND name = ?3"),
            params![step, integer(start), name],
            |row| self::numbers(row, 0),
        )
        .optional()?;
    let mut sum = there.unwrap_or_default();
    sum.add(numbers);
    connection.execute(
        &format!(
            "INSERT OR REPLACE INTO traffic (step, start, name, {COLUMNS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)"
        ),
        params![
            step,
            integer(start),
            name,
            integer(sum.requests),
            integer(sum.statuses[0]),
            integer(sum.statuses[1]),
            integer(sum.statuses[2]),
            integer(sum.statuses[3]),
            integer(sum.statuses[4]),
            integer(sum.received),
            integer(sum.sent),
            integer(sum.time_sum_us),
            integer(sum.p50_us),
            integer(sum.p99_us),
            integer(sum.max_us),
            integer(sum.looked_up),
            integer(sum.cached),
        ],
    )?;
    Ok(())
}

/// How long rows are kept in which form.
pub(super) struct Thinning {
    /// Seconds that minutes are kept.
    minutes: u64,
    /// Seconds that hours are kept.
    hours: u64,
    /// Seconds that days are kept.
    days: u64,
    /// Rows of each step at most; with many routes they are folded sooner.
    rows: u64,
    /// Rows that one step moves at most.
    pace: usize,
}

/// What the store does.
pub(super) const THINNING: Thinning = Thinning {
    minutes: 2 * DAY,
    hours: 60 * DAY,
    days: 5 * 365 * DAY,
    rows: 400_000,
    pace: 500,
};

/// Folds or removes some rows that are too old or too many at a time in seconds since 1970. Is there
/// more? Runs within a transaction of the caller.
pub(super) fn thin(
    connection: &Connection,
    now: u64,
    thinning: &Thinning,
) -> Result<bool, rusqlite::Error> {
    let mut is_more = false;
    for (step, kept, coarser) in [
        (0, thinning.minutes, Some(HOUR)),
        (1, thinning.hours, Some(DAY)),
        (2, thinning.days, None),
    ] {
        // An hour is folded when all of its minutes are old enough.
        let length = coarser.unwrap_or(DAY);
        let by_age = now.saturating_sub(kept) / length * length;
        let by_number = connection
            .query_row(
                "SELECT start FROM traffic WHERE step = ?1
                 ORDER BY start DESC LIMIT 1 OFFSET ?2",
                params![step, integer(thinning.rows)],
                |row| row.get(0),
            )
            .optional()?
            .map_or(0, |start| natural(start) + 1);
        let before = by_age.max(by_number);
        let old: Vec<(u64, i64, Numbers)> = connection
            .prepare(&format!(
                "SELECT start, name, {COLUMNS} FROM traffic WHERE step = ?1 AND start < ?2
                 ORDER BY start, name LIMIT ?3"
            ))?
            .query_map(
                params![step, integer(before), integer(thinning.pace as u64)],
                |row| Ok((natural(row.get(0)?), row.get(1)?, numbers(row, 2)?)),
            )?
            .collect::<Result<_, _>>()?;
        is_more |= old.len() == thinning.pace;
        for (start, name, numbers) in old {
            connection.execute(
                "DELETE FROM traffic WHERE step = ?1 AND start = ?2 AND name = ?3",
                params![step, integer(start), name],
            )?;
            if let Some(length) = coarser {
                add(
                    connection,
                    step + 1,
                    start / length * length,
                    name,
                    &numbers,
                )?;
            }
        }
    }
    Ok(is_more)
}

/// Removes names that no row has any more, such as those of routes that are long gone.
pub(super) fn forget_names(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute(
        "DELETE FROM names WHERE NOT EXISTS (SELECT 1 FROM traffic WHERE name = names.id)",
        [],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::open::{self, Opened};

    /// The beginning of a day.
    const TODAY: u64 = 1_800_057_600;

    fn scratch() -> (tempfile::TempDir, Opened, Reader) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        let opened = open::open_alone(&path).expect("a store");
        let reader = Reader::open(&path).expect("a reader");
        (directory, opened, reader)
    }

    fn route(location: &str) -> Series {
        Series::Route {
            server: "example.com".into(),
            listen: "80".into(),
            location: location.into(),
        }
    }

    fn rollup(series: Series, start: u64, requests: u64) -> Rollup {
        Rollup {
            series,
            start,
            numbers: Numbers {
                requests,
                statuses: [0, requests, 0, 0, 0],
                received: requests * 100,
                sent: requests * 1000,
                time_sum_us: requests * 50,
                p50_us: 50,
                p99_us: 60,
                max_us: 70,
                looked_up: requests / 2,
                cached: requests / 4,
            },
        }
    }

    fn steps(opened: &Opened) -> Vec<(u8, u64)> {
        opened
            .connection
            .prepare("SELECT step, start FROM traffic ORDER BY step, start")
            .expect("a statement")
            .query_map([], |row| Ok((row.get(0)?, natural(row.get(1)?))))
            .expect("rows")
            .collect::<Result<_, _>>()
            .expect("rows")
    }

    #[test]
    fn every_number_comes_back_and_those_of_the_same_minute_add_up() {
        let (_directory, opened, reader) = scratch();
        let numbers = Numbers {
            requests: 10,
            statuses: [1, 2, 3, 4, 5],
            received: 6,
            sent: 7,
            time_sum_us: 8,
            p50_us: 100,
            p99_us: 200,
            max_us: 300,
            looked_up: 9,
            cached: 4,
        };
        let first = Rollup {
            series: Series::Total,
            start: TODAY + 59,
            numbers,
        };
        insert(&opened.connection, &first).expect("kept");
        let all = |step| {
            reader
                .traffic(&Series::Total, 0, u64::MAX, step)
                .expect("traffic")
        };
        assert_eq!(all(60), [(TODAY, numbers)]);
        let second = Rollup {
            numbers: Numbers {
                requests: 30,
                p50_us: 500,
                max_us: 250,
                ..Numbers::default()
            },
            ..first
        };
        insert(&opened.connection, &second).expect("kept");
        let sum = Numbers {
            requests: 40,
            p50_us: 400,
            p99_us: 50,
            ..numbers
        };
        assert_eq!(all(60), [(TODAY, sum)]);
        assert_eq!(all(0), all(60));
    }

    #[test]
    fn a_series_has_its_own_numbers_in_the_window_and_the_step_that_is_asked_for() {
        let (_directory, opened, reader) = scratch();
        let peer = Series::Peer {
            upstream: "app".into(),
            address: "10.0.0.1:80".into(),
        };
        for series in [Series::Total, route("/"), route("/api/"), peer.clone()] {
            for minute in 0..90 {
                insert(
                    &opened.connection,
                    &rollup(series.clone(), TODAY + minute * MINUTE, minute),
                )
                .expect("kept");
            }
        }
        let requests = |series: &Series, from, until, step| -> Vec<(u64, u64)> {
            let found = reader.traffic(series, from, until, step).expect("traffic");
            found
                .iter()
                .map(|(start, numbers)| (start - TODAY, numbers.requests))
                .collect()
        };
        assert_eq!(
            requests(&peer, TODAY + 60, TODAY + 180, 60),
            [(60, 1), (120, 2)]
        );
        assert_eq!(
            requests(&route("/"), TODAY, TODAY + DAY, HOUR),
            [(0, 59 * 60 / 2), (HOUR, (60 + 89) * 15)]
        );
        assert!(requests(&route("/other"), 0, u64::MAX, 60).is_empty());
    }

    #[test]
    fn an_hour_is_folded_when_all_of_it_is_old_and_days_go_after_years() {
        let (_directory, opened, _reader) = scratch();
        for start in [
            TODAY - 5 * 366 * DAY,
            TODAY - 4 * 365 * DAY,
            TODAY - 2 * DAY - MINUTE,
            TODAY - 2 * DAY + MINUTE,
            TODAY - MINUTE,
        ] {
            insert(&opened.connection, &rollup(Series::Total, start, 1)).expect("kept");
        }
        while thin(&opened.connection, TODAY + HOUR - 1, &THINNING).expect("thinned") {}
        assert_eq!(
            steps(&opened),
            [
                (0, TODAY - 2 * DAY + MINUTE),
                (0, TODAY - MINUTE),
                (1, TODAY - 2 * DAY - HOUR),
                (2, TODAY - 4 * 365 * DAY),
            ]
        );
        while thin(&opened.connection, TODAY + HOUR, &THINNING).expect("thinned") {}
        assert_eq!(steps(&opened)[0], (0, TODAY - MINUTE));
    }

    #[test]
    fn too_many_rows_are_folded_before_their_time() {
        let (_directory, opened, reader) = scratch();
        let few = Thinning {
            rows: 30,
            pace: 7,
            ..THINNING
        };
        for minute in 0..100 {
            let start = TODAY - minute * MINUTE;
            insert(&opened.connection, &rollup(Series::Total, start, 1)).expect("kept");
        }
        while thin(&opened.connection, TODAY, &few).expect("thinned") {}
        let minutes = steps(&opened).iter().filter(|(step, _)| *step == 0).count();
        assert_eq!(minutes, 30);
        let found = reader.traffic(&Series::Total, 0, u64::MAX, DAY);
        let sum: u64 = found
            .expect("traffic")
            .iter()
            .map(|(_, n)| n.requests)
            .sum();
        assert_eq!(sum, 100);
    }

    #[test]
    fn names_that_nothing_needs_are_forgotten() {
        let (_directory, opened, _reader) = scratch();
        insert(&opened.connection, &rollup(route("/old"), 0, 1)).expect("kept");
        insert(&opened.connection, &rollup(route("/new"), TODAY, 1)).expect("kept");
        while thin(&opened.connection, TODAY, &THINNING).expect("thinned") {}
        forget_names(&opened.connection).expect("forgotten");
        let names: Vec<String> = opened
            .connection
            .prepare("SELECT third FROM names")
            .expect("a statement")
            .query_map([], |row| row.get(0))
            .expect("rows")
            .collect::<Result<_, _>>()
            .expect("rows");
        assert_eq!(names, ["/new"]);
    }

    #[test]
    fn numbers_beyond_all_measure_are_as_large_as_can_be() {
        let (_directory, opened, reader) = scratch();
        let numbers = Numbers {
            requests: u64::MAX,
            statuses: [u64::MAX; 5],
            received: u64::MAX,
            sent: u64::MAX,
            time_sum_us: u64::MAX,
            p50_us: u64::MAX,
            p99_us: u64::MAX,
            max_us: u64::MAX,
            looked_up: u64::MAX,
            cached: u64::MAX,
        };
        for start in [0, 60, TODAY, u64::MAX] {
            for _ in 0..3 {
                let rollup = Rollup {
                    series: route("/"),
                    start,
                    numbers,
                };
                insert(&opened.connection, &rollup).expect("kept");
            }
        }
        while thin(&opened.connection, u64::MAX, &THINNING).expect("thinned") {}
        while thin(&opened.connection, TODAY, &THINNING).expect("thinned") {}
        reader
            .traffic(&route("/"), 0, u64::MAX, u64::MAX)
            .expect("traffic");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_went_in_comes_out_however_it_was_folded(
            minutes in proptest::collection::vec(
                (0..3u8, 0..400 * DAY / MINUTE, 1..1_000u64, 1..1_000_000u64), 1..60),
            moments in proptest::collection::vec(0..800 * DAY, 0..6),
            pace in 1..40usize,
        ) {
            let (_directory, opened, reader) = scratch();
            let thinning = Thinning { pace, ..THINNING };
            let start = TODAY - 400 * DAY;
            let mut expected = HashMap::<Series, Numbers>::new();
            let mut moments = moments.into_iter();
            for (count, (name, minute, requests, time)) in minutes.into_iter().enumerate() {
                let series = route(&name.to_string());
                let numbers = Numbers {
                    requests,
                    statuses: [0, requests, 1, 0, time],
                    received: requests * 3,
                    sent: time,
                    time_sum_us: requests * time,
                    p50_us: time,
                    p99_us: time,
                    max_us: time,
                    looked_up: requests,
                    cached: requests / 3,
                };
                expected.entry(series.clone()).or_default().add(&numbers);
                let rollup = Rollup { series, start: start + minute * MINUTE, numbers };
                insert(&opened.connection, &rollup).expect("kept");
                if count % 10 == 9 && let Some(moment) = moments.next() {
                    thin(&opened.connection, start + moment, &thinning).expect("thinned");
                }
            }
            for moment in moments {
                while thin(&opened.connection, start + moment, &thinning).expect("thinned") {}
            }
            for (series, expected) in expected {
                let found = reader.traffic(&series, 0, u64::MAX, u64::MAX).expect("traffic");
                prop_assert_eq!(found.len(), 1);
                let mut found = found[0].1;
                // Means of means are cut to whole microseconds each time.
                prop_assert!(found.p50_us.abs_diff(expected.p50_us) <= 60);
                found.p50_us = expected.p50_us;
                found.p99_us = expected.p99_us;
                prop_assert_eq!(found, expected);
            }
        }
    }
}
