//! May an entry answer a request?
//!
//! Owns the ages of stored answers and what a client may say about them. The times of an entry are
//! read here and in [`super::freshness`], where they are written, and nowhere else.

use super::control::Wishes;
use super::entry::Head;
use super::freshness::MUST_REVALIDATE;

/// How an entry stands to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It answers.
    Fresh,
    /// It is stale.
    Stale {
        /// Its origin gives leave to serve it while it is renewed.
        while_revalidate: bool,
        /// Its origin gives leave to serve it when nothing better is to be had.
        if_error: bool,
        /// It may be served stale where the configuration says so.
        may_be_stale: bool,
    },
    /// The client takes no stored answer such as this.
    Unwanted,
}

/// The age of an entry (RFC 9111 section 4.2.3) at a time in milliseconds since 1970, in seconds. A
/// clock that was set back makes nothing younger than it came.
pub fn age(head: &Head, now: u64) -> u64 {
    head.age
        .saturating_add(now.saturating_sub(head.received) / 1000)
}

/// How much longer an entry is fresh, in seconds; negative since when it is stale.
pub fn remaining(head: &Head, now: u64) -> i64 {
    let lifetime = i64::try_from(head.lifetime).unwrap_or(i64::MAX);
    let age = i64::try_from(age(head, now)).unwrap_or(i64::MAX);
    lifetime.saturating_sub(age)
}

/// How an entry stands to a request that comes now; `wishes` are heeded where there are any.
pub fn standing(head: &Head, now: u64, wishes: Option<&Wishes>) -> Standing {
    let remaining = remaining(head, now);
    let may_be_stale = head.flags & MUST_REVALIDATE == 0;
    let within = |seconds: u32| may_be_stale && -remaining < i64::from(seconds);
    let stale = Standing::Stale {
        while_revalidate: within(head.stale_while_revalidate),
        if_error: within(head.stale_if_error),
        may_be_stale,
    };
    if let Some(wishes) = wishes {
        if wishes.no_cache {
            return Standing::Unwanted;
        }
        if wishes
            .max_age
            .is_some_and(|most| age(head, now) > u64::from(most))
        {
            // `max-stale` beside it means staleness, not age.
            return Standing::Unwanted;
        }
        if remaining > 0 && remaining < i64::from(wishes.min_fresh) {
            return Standing::Unwanted;
        }
        if remaining <= 0 && may_be_stale && wishes.max_stale.is_some_and(within) {
            return Standing::Fresh;
        }
    }
    if remaining > 0 {
        Standing::Fresh
    } else {
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::control::MOST_SECONDS;

    fn head(lifetime: u64) -> Head {
        Head {
            received: 1_000_000,
            age: 10,
            lifetime,
            stale_while_revalidate: 5,
            stale_if_error: 20,
            ..Head::default()
        }
    }

    fn after(seconds: u64) -> u64 {
        1_000_000 + seconds * 1000
    }

    #[test]
    fn an_entry_ages_from_the_age_that_it_came_with() {
        let head = head(100);
        assert_eq!(age(&head, after(0)), 10);
        assert_eq!(age(&head, after(30)), 40);
        assert_eq!(age(&head, 0), 10);
        assert_eq!(remaining(&head, after(30)), 60);
    }

    #[test]
    fn it_is_fresh_until_its_lifetime_is_over_and_then_stale_for_as_long_as_it_may() {
        let head = head(100);
        assert_eq!(standing(&head, after(89), None), Standing::Fresh);
        let stale = |seconds| match standing(&head, after(seconds), None) {
            Standing::Stale {
                while_revalidate,
                if_error,
                ..
            } => (while_revalidate, if_error),
            other => panic!("{other:?}"),
        };
        assert_eq!(stale(90), (true, true));
        assert_eq!(stale(95), (false, true));
        assert_eq!(stale(110), (false, false));
    }

    #[test]
    fn what_must_be_revalidated_is_never_served_stale() {
        let head = Head {
            flags: MUST_REVALIDATE,
            ..head(100)
        };
        let stale = Standing::Stale {
            while_revalidate: false,
            if_error: false,
            may_be_stale: false,
        };
        assert_eq!(standing(&head, after(91), None), stale);
        let wishes = Wishes {
            max_stale: Some(MOST_SECONDS),
            ..Wishes::default()
        };
        assert_eq!(standing(&head, after(91), Some(&wishes)), stale);
    }

    #[test]
    fn a_client_takes_what_it_wishes() {
        let head = head(100);
        let with = |seconds, wishes: Wishes| standing(&head, after(seconds), Some(&wishes));
        let none = Wishes::default();
        assert_eq!(with(0, none), Standing::Fresh);
        assert_eq!(
            with(
                0,
                Wishes {
                    no_cache: true,
                    ..none
                }
            ),
            Standing::Unwanted
        );
        assert_eq!(
            with(
                0,
                Wishes {
                    max_age: Some(10),
                    ..none
                }
            ),
            Standing::Fresh
        );
        assert_eq!(
            with(
                1,
                Wishes {
                    max_age: Some(10),
                    ..none
                }
            ),
            Standing::Unwanted
        );
        assert_eq!(
            with(
                40,
                Wishes {
                    min_fresh: 50,
                    ..none
                }
            ),
            Standing::Fresh
        );
        assert_eq!(
            with(
                41,
                Wishes {
                    min_fresh: 50,
                    ..none
                }
            ),
            Standing::Unwanted
        );
        assert_eq!(
            with(
                95,
                Wishes {
                    max_stale: Some(6),
                    ..none
                }
            ),
            Standing::Fresh
        );
        assert!(matches!(
            with(
                96,
                Wishes {
                    max_stale: Some(6),
                    ..none
                }
            ),
            Standing::Stale { .. }
        ));
        assert_eq!(
            with(
                999,
                Wishes {
                    max_stale: Some(MOST_SECONDS),
                    ..none
                }
            ),
            Standing::Fresh
        );
    }
}
