//! Purges: what is told to be gone at once, and removed by and by.
//!
//! A purge by prefix, by tag or of everything would have to look at every file. It is a rule
//! instead: entries that are older than it and that it names are not found from now on, whether
//! they are in memory or have yet to be read from the disk. The [keeper](super::keeper) walks over
//! the zone, removes them and then forgets the rule. Rules are written to the zone's directory
//! first, so that an end of the process brings nothing back.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use nix::fcntl::OFlag;
use parking_lot::{Mutex, RwLock};

use super::entry::{Entry, Head};

/// The most rules at a time. Each costs an entry one comparison, once.
const MOST: usize = 10_000;

/// No list of purges is longer: a key is as long as a request's head may be.
const MOST_BYTES: u64 = 1 << 30;

/// What is to be gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// The answer with this key or this URL.
    Exact(Box<[u8]>),
    /// All whose key or URL begins so.
    Prefix(Box<[u8]>),
    /// All with this tag.
    Tag(Box<[u8]>),
    /// All.
    Everything,
}

impl Target {
    /// What a person writes: a key or a URL; with `*` at its end, all that begin so.
    pub fn parse(text: &[u8]) -> Self {
        match text.strip_suffix(b"*") {
            Some([]) => Self::Everything,
            Some(prefix) => Self::Prefix(prefix.into()),
            None => Self::Exact(text.into()),
        }
    }

    fn names(&self, key: &[u8], head: &Head) -> bool {
        match self {
            Self::Exact(text) => **text == *key || *text == head.url,
            Self::Prefix(text) => key.starts_with(text) || head.url.starts_with(text),
            Self::Tag(text) => head.tags.contains(text),
            Self::Everything => true,
        }
    }
}

/// The purges of a zone that are under way.
#[derive(Debug, Default)]
pub struct Rules {
    list: RwLock<Vec<Rule>>,
    /// The serial of the newest rule; 0 if there is none.
    newest: AtomicU64,
    /// Held while the file is written: what is written last is what holds last.
    saving: Mutex<()>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    /// What was begun before this is concerned.
    serial: u64,
    target: Target,
}

/// There are too many purges under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany;

impl Rules {
    /// From now on what is older than `serial` and named by the target is gone.
    pub fn add(&self, serial: u64, target: Target) -> Result<(), TooMany> {
        let mut list = self.list.write();
        if target == Target::Everything {
            list.clear();
        }
        let is_full = list.len() >= MOST;
        match list.iter_mut().find(|rule| rule.target == target) {
            Some(rule) => rule.serial = serial,
            None if is_full => return Err(TooMany),
            None => list.push(Rule { serial, target }),
        }
        self.newest.fetch_max(serial, Ordering::Release);
        Ok(())
    }

    /// Is there no rule?
    pub fn is_empty(&self) -> bool {
        self.list.read().is_empty()
    }

    /// The serial of the newest rule; 0 if there is none.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Forgets the rules up to a serial: nothing is left that they concern.
    pub fn forget(&self, serial: u64) {
        self.list.write().retain(|rule| rule.serial > serial);
    }

    /// Is an entry gone? Remembered by the entry, so that asking again costs a comparison.
    pub fn concern(&self, entry: &Entry) -> bool {
        let newest = self.newest();
        let checked = entry.checked.load(Ordering::Relaxed);
        if checked >= newest {
            return false;
        }
        if self.name(checked, entry.key(), &entry.head) {
            return true;
        }
        entry.checked.fetch_max(newest, Ordering::Relaxed);
        false
    }

    /// Is something gone that was begun at `serial`?
    pub fn name(&self, serial: u64, key: &[u8], head: &Head) -> bool {
        if serial >= self.newest() {
            return false;
        }
        let list = self.list.read();
        let mut newer = list.iter().filter(|rule| rule.serial > serial);
        newer.any(|rule| rule.target.names(key, head))
    }

    /// The rules as lines.
    fn print(&self) -> String {
        self.list.read().iter().map(Rule::print).collect()
    }

    /// Adds the newest rules to the file, or writes it anew without those that were forgotten.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let _alone = self.saving.lock();
        let text = self.print();
        if text.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            };
        }
        let beside = path.with_extension("new");
        // Whatever stands there: what an earlier process left, or a link to somebody else's file.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::create_new(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&beside, path)
    }

    /// Reads what was saved. The highest serial, and whether all of it could be read.
    pub fn load(&self, path: &Path) -> (u64, bool) {
        let (text, mut is_whole) = match read(path) {
            Ok(text) => (text, true),
            Err(error) => (String::new(), error.kind() == io::ErrorKind::NotFound),
        };
        let mut found = Vec::new();
        for line in text.lines() {
            match Rule::parse(line) {
                Some(rule) if found.len() < MOST => found.push(rule),
                _ => is_whole = false,
            }
        }
        let newest = found.iter().map(|rule| rule.serial).max().unwrap_or(0);
        self.list.write().extend(found);
        self.newest.fetch_max(newest, Ordering::Release);
        (newest, is_whole)
    }

    /// The rules that are not older than `since` concern what is older than `serial`.
    pub fn raise(&self, since: u64, serial: u64) {
        let mut list = self.list.write();
        let recent = list.iter_mut().filter(|rule| rule.serial >= since);
        recent.for_each(|rule| rule.serial = serial);
        self.newest.fetch_max(serial, Ordering::Release);
    }
}

/// A list of purges; what is found there need not be a file of ours.
fn read(path: &Path) -> io::Result<String> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

impl Rule {
    fn print(&self) -> String {
        let (kind, text) = match &self.target {
            Target::Exact(text) => ("exact", &**text),
            Target::Prefix(text) => ("prefix", &**text),
            Target::Tag(text) => ("tag", &**text),
            Target::Everything => ("everything", &b""[..]),
        };
        format!("{} {kind} {}\n", self.serial, HEXLOWER.encode(text))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split(' ');
        let serial = parts.next()?.parse().ok()?;
        let kind = parts.next()?;
        let text = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?.into();
        let target = match kind {
            "exact" => Target::Exact(text),
            "prefix" => Target::Prefix(text),
            "tag" => Target::Tag(text),
            "everything" => Target::Everything,
            _ => return None,
        };
        Some(Self { serial, target })
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::*;

    fn entry(key: &str, tag: &str, serial: u64) -> Entry {
        let head = Head {
            url: format!("https://example.com{key}").into_bytes().into(),
            tags: vec![tag.as_bytes().into()],
            ..Head::default()
        };
        Entry::new(&Key::new(key.as_bytes()), head, 0, serial, 0)
    }

    #[test]
    fn a_rule_concerns_what_is_older_and_what_it_names() {
        let rules = Rules::default();
        let old = entry("/a/b", "news", 5);
        assert!(!rules.concern(&old));
        rules.add(10, Target::parse(b"/a/*")).expect("room");
        assert!(rules.concern(&old));
        assert!(!rules.concern(&entry("/b", "news", 5)));
        assert!(!rules.concern(&entry("/a/b", "news", 10)));
        rules
            .add(11, Target::Tag((*b"sport").into()))
            .expect("room");
        assert!(rules.concern(&entry("/b", "sport", 5)));
        let url = Target::parse(b"https://example.com/c");
        rules.add(12, url).expect("room");
        assert!(rules.concern(&entry("/c", "", 5)));
        assert!(!rules.concern(&entry("/cc", "", 5)));
        rules.add(13, Target::parse(b"*")).expect("room");
        assert!(rules.concern(&entry("/cc", "", 5)));
    }

    #[test]
    fn what_was_seen_to_be_fine_is_looked_at_again_only_for_newer_rules() {
        let rules = Rules::default();
        let kept = entry("/b", "", 5);
        rules.add(10, Target::parse(b"/a*")).expect("room");
        assert!(!rules.concern(&kept));
        assert_eq!(kept.checked.load(Ordering::Relaxed), 10);
        rules.add(11, Target::parse(b"/b*")).expect("room");
        assert!(rules.concern(&kept));
    }

    #[test]
    fn purges_at_the_same_time_are_all_written_down() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("purges");
        let rules = Rules::default();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (rules, path) = (&rules, &path);
                scope.spawn(move || {
                    for number in 0..16 {
                        let serial = thread * 16 + number + 1;
                        let name = serial.to_string().into_bytes();
                        rules
                            .add(serial, Target::Prefix(name.into()))
                            .expect("there is room");
                        rules.save(path).expect("saved");
                    }
                });
            }
        });
        let again = Rules::default();
        assert_eq!(again.load(&path), (128, true));
        assert_eq!(again.list.read().len(), 128);
    }

    #[test]
    fn a_list_that_is_none_of_ours_is_not_read_and_nothing_is_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("purges");
        assert_eq!(Rules::default().load(&path), (0, true));
        let foreign = directory.path().join("foreign");
        fs::write(&foreign, "12 everything \n").expect("written");
        std::os::unix::fs::symlink(&foreign, &path).expect("linked");
        assert_eq!(Rules::default().load(&path), (0, false));
        fs::remove_file(&path).expect("removed");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
        assert_eq!(Rules::default().load(&path), (0, false));
        std::os::unix::fs::symlink(&foreign, path.with_extension("new")).expect("linked");
        let rules = Rules::default();
        rules.add(10, Target::Everything).expect("room");
        rules.save(&path).expect("saved");
        assert_eq!(fs::read(&foreign).expect("there"), b"12 everything \n");
        assert_eq!(Rules::default().load(&path), (10, true));
    }

    #[test]
    fn rules_outlive_the_process_and_a_line_cut_off_harms_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("purges");
        let rules = Rules::default();
        rules.add(10, Target::parse(b"/a b\n*")).expect("room");
        rules.add(11, Target::Tag((*b"x").into())).expect("room");
        rules.save(&path).expect("saved");
        let mut text = fs::read_to_string(&path).expect("readable");
        let again = Rules::default();
        assert_eq!(again.load(&path), (11, true));
        text.push_str("12 prefix 2");
        fs::write(&path, text).expect("written");
        let again = Rules::default();
        assert_eq!(again.load(&path), (11, false));
        assert_eq!(*again.list.read(), *rules.list.read());
        again.forget(11);
        again.save(&path).expect("saved");
        assert!(!path.exists());
    }
}
