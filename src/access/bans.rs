//! Clients that are kept out, by their address.
//!
//! One list for the whole process, changed while it runs and in force at once: a connection from an
//! address on it is closed as soon as it is accepted, and a request whose client turns out to be one
//! (behind a proxy that is trusted, or over a connection from before) is not answered. As long as the
//! list is empty that costs a look at one number that hardly ever changes.
//!
//! Owns who is banned and until when; what is remembered of it over a restart is the caller's.
//! Invariant: at most [`MOST`] bans, none of them of everybody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ipnet::IpNet;
use parking_lot::RwLock;

use crate::conf::typed::listen::Address;
use crate::metrics::prometheus::ListedBans;
use crate::unit::clock;

/// So many bans at once.
pub const MOST: usize = 10_000;

/// Of these, so many are for people: however many are kept out by themselves.
const FOR_PEOPLE: usize = 1_000;

/// Who made a ban that nobody made: `auto_ban`.
pub const BY_ITSELF: &str = "auto_ban";

/// The longest reason, in characters.
const LONGEST_REASON: usize = 200;

/// A client, or a network of them, that is kept out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    /// Who.
    pub network: IpNet,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// Until when, likewise; `None` for good.
    pub until: Option<u64>,
    /// Why, for people.
    pub reason: String,
    /// Who said so.
    pub by: String,
}

/// Why a ban is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It would keep everybody out.
    Everybody,
    /// There are too many.
    TooMany,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everybody => formatter.write_str("that would keep everybody out"),
            Self::TooMany => write!(formatter, "there are {MOST} bans already"),
        }
    }
}

/// All bans.
#[derive(Debug, Default)]
pub struct Bans {
    list: RwLock<List>,
    /// How many there are, so that nobody locks an empty list.
    count: AtomicUsize,
    /// Counts the changes.
    version: AtomicU64,
    /// Connections and requests that were turned away.
    turned_away: AtomicU64,
    /// Bans that were made by themselves.
    made_by_itself: AtomicU64,
}

#[derive(Debug, Default)]
struct List {
    bans: HashMap<IpNet, Ban>,
    /// The lengths of prefixes that there are, of IPv4 and of IPv6.
    lengths: [Vec<u8>; 2],
}

/// The bans of this process.
pub fn bans() -> &'static Bans {
    static BANS: LazyLock<Bans> = LazyLock::new(Bans::default);
    &BANS
}

impl Bans {
    /// Is this client kept out? Counts if it is.
    pub fn keeps_out(&self, client: &Address) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let Address::Ip(address) = client else {
            return false;
        };
        let now = clock::unix().as_millis() as u64;
        let is_out = self.list.read().of(address.ip().to_canonical(), now);
        if is_out {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        is_out
    }

    /// Keeps somebody out; whoever is kept out already, from now on by this.
    pub fn add(&self, mut ban: Ban) -> Result<(), Refused> {
        ban.network = ban.network.trunc();
        if ban.network.prefix_len() == 0 {
            return Err(Refused::Everybody);
        }
        if ban.reason.chars().count() > LONGEST_REASON {
            ban.reason = ban.reason.chars().take(LONGEST_REASON).collect();
        }
        let mut list = self.list.write();
        list.forget_those_over(clock::unix().as_millis() as u64);
        if list.bans.len() >= MOST && !list.bans.contains_key(&ban.network) {
            return Err(Refused::TooMany);
        }
        list.bans.insert(ban.network, ban);
        self.changed(&mut list);
        Ok(())
    }

    /// Keeps somebody out for a time because of what they did; `false` if they are kept out already, or
    /// if people have taken up all places. The ban of this kind that ends first makes room.
    pub fn add_by_itself(&self, ban: Ban) -> bool {
        let now = clock::unix().as_millis() as u64;
        let mut list = self.list.write();
        if list.of(ban.network.addr(), now) {
            return false;
        }
        list.forget_those_over(now);
        if list.bans.len() >= MOST - FOR_PEOPLE {
            let own = list.bans.values().filter(|ban| ban.is_by_itself());
            let Some(first) = own.min_by_key(|ban| ban.until).map(|ban| ban.network) else {
                return false;
            };
            list.bans.remove(&first);
        }
        list.bans.insert(ban.network, ban);
        self.changed(&mut list);
        self.made_by_itself.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Lets somebody in again; `false` if nobody was kept out by this very network.
    pub fn remove(&self, network: IpNet) -> bool {
        let mut list = self.list.write();
        let was_there = list.bans.remove(&network.trunc()).is_some();
        self.changed(&mut list);
        was_there
    }

    /// Forgets the bans that are over.
    pub fn tidy(&self) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let now = clock::unix().as_millis() as u64;
        let is_over = |ban: &Ban| ban.until.is_some_and(|until| until <= now);
        if !self.list.read().bans.values().any(is_over) {
            return;
        }
        let mut list = self.list.write();
        list.forget_those_over(now);
        self.changed(&mut list);
    }

    /// All bans that hold, those made last first.
    pub fn list(&self) -> Vec<Ban> {
        let now = clock::unix().as_millis() as u64;
        let list = self.list.read();
        let holds = |ban: &&Ban| ban.until.is_none_or(|until| until > now);
        let mut bans: Vec<Ban> = list.bans.values().filter(holds).cloned().collect();
        bans.sort_by_key(|ban| (std::cmp::Reverse(ban.since), ban.network));
        bans
    }

    /// Counts the changes: another number means another list.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Connections and requests that were turned away since the start.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// The bans as metrics list them.
    pub fn listed(&self) -> ListedBans {
        let now = clock::unix().as_millis() as u64;
        let list = self.list.read();
        let holds = |ban: &&Ban| ban.until.is_none_or(|until| until > now);
        let all = list.bans.values().filter(holds);
        let (own, people): (Vec<_>, Vec<_>) = all.partition(|ban| ban.is_by_itself());
        ListedBans {
            of_people: people.len() as u64,
            by_itself: own.len() as u64,
            made_by_itself: self.made_by_itself.load(Ordering::Relaxed),
            turned_away: self.turned_away(),
        }
    }

    fn changed(&self, list: &mut List) {
        let mut lengths = [Vec::new(), Vec::new()];
        for network in list.bans.keys() {
            let lengths = &mut lengths[usize::from(network.addr().is_ipv6())];
            if !lengths.contains(&network.prefix_len()) {
                lengths.push(network.prefix_len());
            }
        }
        list.lengths = lengths;
        self.count.store(list.bans.len(), Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Relaxed);
    }
}

impl Ban {
    fn is_by_itself(&self) -> bool {
        self.by == BY_ITSELF
    }
}

impl List {
    fn of(&self, address: IpAddr, now: u64) -> bool {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        lengths.iter().any(|&length| {
            let network = IpNet::new(address, length).map(|network| network.trunc());
            let ban = network.ok().and_then(|network| self.bans.get(&network));
            ban.is_some_and(|ban| ban.until.is_none_or(|until| until > now))
        })
    }

    fn forget_those_over(&mut self, now: u64) {
        self.bans
            .retain(|_, ban| ban.until.is_none_or(|until| until > now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(network: &str, until: Option<u64>) -> Ban {
        let network = network
            .parse()
            .or_else(|_| network.parse().map(IpAddr::into));
        Ban {
            network: network.expect("a network"),
            since: 1,
            until,
            reason: "x".repeat(500),
            by: String::new(),
        }
    }

    fn client(address: &str) -> Address {
        Address::Ip(std::net::SocketAddr::new(
            address.parse().expect("an address"),
            9,
        ))
    }

    #[test]
    fn addresses_and_networks_are_kept_out_until_they_are_let_in() {
        let bans = Bans::default();
        assert!(!bans.keeps_out(&client("192.0.2.1")));
        for network in ["192.0.2.1", "198.51.100.9/24", "2001:db8::/32"] {
            bans.add(ban(network, None)).expect("taken");
        }
        for (address, is_out) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.2", false),
            ("198.51.100.200", true),
            ("198.51.101.1", false),
            ("2001:db8:1::5", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(bans.keeps_out(&client(address)), is_out, "{address}");
        }
        assert!(!bans.keeps_out(&Address::Unix(std::path::Path::new("/x").into())));
        assert_eq!(bans.turned_away(), 4);
        assert_eq!(bans.list().len(), 3);
        assert!(bans.list().iter().all(|ban| ban.reason.len() == 200));
        assert!(bans.remove("198.51.100.0/24".parse().expect("a network")));
        assert!(!bans.remove("198.51.100.0/24".parse().expect("a network")));
        assert!(!bans.keeps_out(&client("198.51.100.200")));
    }

    #[test]
    fn a_ban_ends_by_itself_and_none_is_of_everybody() {
        let bans = Bans::default();
        bans.add(ban("192.0.2.1", Some(1))).expect("taken");
        bans.add(ban("192.0.2.2", Some(u64::MAX))).expect("taken");
        assert!(!bans.keeps_out(&client("192.0.2.1")));
        assert!(bans.keeps_out(&client("192.0.2.2")));
        let version = bans.version();
        bans.tidy();
        assert_eq!(bans.list().len(), 1);
        bans.tidy();
        assert!(bans.version() <= version + 1);
        for network in ["0.0.0.0/0", "::/0"] {
            assert_eq!(bans.add(ban(network, None)), Err(Refused::Everybody));
        }
    }

    #[test]
    fn those_kept_out_by_themselves_leave_room_for_people_and_make_it_for_one_another() {
        let bans = Bans::default();
        let own = |number: u32, until: u64| Ban {
            by: BY_ITSELF.to_owned(),
            network: IpNet::from(IpAddr::from(number.to_be_bytes())),
            ..ban("192.0.2.1", Some(until))
        };
        for number in 0..(MOST - FOR_PEOPLE) as u32 {
            assert!(bans.add_by_itself(own(number, u64::MAX - u64::from(number))));
        }
        assert!(!bans.add_by_itself(own(7, u64::MAX)), "is out already");
        assert!(bans.add_by_itself(own(u32::MAX, u64::MAX)));
        let listed = bans.listed();
        assert_eq!(listed.by_itself as usize, MOST - FOR_PEOPLE);
        assert_eq!(listed.made_by_itself as usize, MOST - FOR_PEOPLE + 1);
        // The one that would have ended first.
        let last = (MOST - FOR_PEOPLE - 1) as u32;
        let is_out = |number: u32| {
            let address = IpAddr::from(number.to_be_bytes());
            bans.keeps_out(&Address::Ip(std::net::SocketAddr::new(address, 1)))
        };
        assert!(is_out(u32::MAX) && is_out(0) && !is_out(last));
        bans.add(ban("203.0.113.7", None)).expect("room for people");
        assert_eq!(bans.listed().of_people, 1);
    }
}
