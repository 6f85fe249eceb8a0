//! Files of passwords, as `htpasswd` makes them: `user:kept text` in each line.
//!
//! Owns reading ([`PasswordFile::parse`]), keeping them in memory until they change ([`open`]), and
//! changing one user in the text ([`with_user`], [`without_user`]), which leaves every other byte as it
//! is. As with nginx the first line of a user counts, what stands behind a second colon is a comment,
//! and so is a line that begins with `#`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::hash::Stored;
use crate::access::kept_file::{KeptFiles, Unreadable};

/// A larger file is not read: it would be some fifty thousand users.
pub const LARGEST: u64 = 4 << 20;

/// The users of a file with what is kept of their passwords.
#[derive(Default)]
pub struct PasswordFile {
    users: HashMap<Box<[u8]>, Arc<[u8]>>,
    /// What takes the longest to be compared with.
    costliest: Option<Arc<[u8]>>,
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} users", self.users.len())
    }
}

impl PasswordFile {
    /// Reads a text.
    pub fn parse(text: &[u8]) -> Self {
        let mut file = Self::default();
        let mut highest = 0;
        for (user, kept) in text.split(|&byte| byte == b'\n').filter_map(entry) {
            if file.users.contains_key(user) {
                continue;
            }
            let kept: Arc<[u8]> = kept.into();
            if let Ok(stored) = Stored::parse(&kept)
                && stored.cost() > highest
            {
                highest = stored.cost();
                file.costliest = Some(Arc::clone(&kept));
            }
            file.users.insert(user.into(), kept);
        }
        file
    }

    /// What is kept of a user's password.
    pub fn kept(&self, user: &[u8]) -> Option<&Arc<[u8]>> {
        self.users.get(user)
    }

    /// What is compared for a user who is not there, so that nobody learns who is by the time that an
    /// answer takes.
    pub fn stand_in(&self) -> Option<&Arc<[u8]>> {
        self.costliest.as_ref()
    }

    /// The users, in no order.
    pub fn users(&self) -> impl Iterator<Item = &[u8]> {
        self.users.keys().map(|user| &**user)
    }
}

/// The user and the kept text of a line; `None` for a comment and for what is no entry.
fn entry(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if line.starts_with(b"#") {
        return None;
    }
    let colon = memchr::memchr(b':', line)?;
    let rest = &line[colon + 1..];
    let end = rest.iter().position(|byte| matches!(byte, b':' | b'\r'));
    let user = &line[..colon];
    (!user.is_empty()).then_some((user, &rest[..end.unwrap_or(rest.len())]))
}

/// Can it be the name of a user in a file?
pub fn is_user(name: &str) -> bool {
    let is_fine = |character: char| character != ':' && !character.is_control();
    !name.is_empty() && name.len() <= 255 && !name.starts_with('#') && name.chars().all(is_fine)
}

/// The text with another kept text for a user, who is added at the end if new.
pub fn with_user(text: &[u8], user: &str, kept: &str) -> Vec<u8> {
    let mut changed = Vec::with_capacity(text.len() + user.len() + kept.len() + 2);
    let mut is_written = false;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let own = entry(line.strip_suffix(b"\n").unwrap_or(line))
            .filter(|(name, _)| *name == user.as_bytes());
        match own {
            Some(_) if is_written => {}
            Some((name, old)) => {
                is_written = true;
                changed.extend_from_slice(name);
                changed.push(b':');
                changed.extend_from_slice(kept.as_bytes());
                changed.extend_from_slice(&line[name.len() + 1 + old.len()..]);
            }
            None => changed.extend_from_slice(line),
        }
    }
    if !is_written {
        if !changed.is_empty() && !changed.ends_with(b"\n") {
            changed.push(b'\n');
        }
        changed.extend_from_slice(format!("{user}:{kept}\n").as_bytes());
    }
    changed
}

/// The text without a user; `None` if there is no such user.
pub fn without_user(text: &[u8], user: &str) -> Option<Vec<u8>> {
    let is_own = |line: &[u8]| {
        entry(line.strip_suffix(b"\n").unwrap_or(line))
            .is_some_and(|(name, _)| name == user.as_bytes())
    };
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let changed: Vec<u8> = lines
        .filter(|line| !is_own(line))
        .flatten()
        .copied()
        .collect();
    (changed.len() < text.len()).then_some(changed)
}

static FILES: KeptFiles<PasswordFile> = KeptFiles::new(LARGEST, PasswordFile::parse);

/// The file as it is now, or was at most a second ago.
pub fn open(path: &[u8], now: Instant) -> Result<Arc<PasswordFile>, Unreadable> {
    FILES.open(path, now)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::{fs, io};

    use super::*;
    use crate::access::kept_file::LOOK_AGAIN;

    fn kept(text: &[u8], user: &str) -> Option<String> {
        let file = PasswordFile::parse(text);
        let kept = file.kept(user.as_bytes())?;
        Some(String::from_utf8_lossy(kept).into_owned())
    }

    #[test]
    fn comments_are_no_users_and_the_first_line_of_a_user_counts() {
        let text =
            b"# ann:x\nann:one:a comment\r\nbob:two\r\n\nann:three\n:four\nnothing\ncid:five";
        assert_eq!(kept(text, "ann").as_deref(), Some("one"));
        assert_eq!(kept(text, "bob").as_deref(), Some("two"));
        assert_eq!(kept(text, "cid").as_deref(), Some("five"));
        assert_eq!(PasswordFile::parse(text).users().count(), 3);
    }

    #[test]
    fn who_is_not_there_costs_as_much_as_the_costliest() {
        let text = b"a:{PLAIN}x\nb:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\nc:broken\n";
        let file = PasswordFile::parse(text);
        assert!(
            file.stand_in()
                .is_some_and(|kept| kept.starts_with(b"$2y$05$"))
        );
    }

    #[test]
    fn a_user_is_changed_and_nothing_else() {
        let text = b"# team\nann:old:admin\r\nbob:x\nann:again";
        assert_eq!(
            with_user(text, "ann", "new"),
            b"# team\nann:new:admin\r\nbob:x\n"
        );
        assert_eq!(with_user(b"bob:x", "ann", "new"), b"bob:x\nann:new\n");
        assert_eq!(with_user(b"", "ann", "new"), b"ann:new\n");
        let without = without_user(text, "ann").expect("she is there");
        assert_eq!(without, b"# team\nbob:x\n");
        assert_eq!(without_user(text, "cid"), None);
        assert_eq!(without_user(text, "# team"), None);
    }

    #[test]
    fn a_file_is_read_again_when_it_changed_and_not_within_a_second() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("users");
        let bytes = path.as_os_str().as_bytes();
        let now = Instant::now();
        assert!(open(bytes, now).expect_err("not there").is_missing());
        fs::write(&path, "ann:{PLAIN}a\n").expect("written");
        let first = open(bytes, now).expect("there");
        fs::write(&path, "bob:{PLAIN}longer\n").expect("written");
        let soon = open(bytes, now + LOOK_AGAIN / 2).expect("there");
        assert!(Arc::ptr_eq(&first, &soon));
        let later = open(bytes, now + LOOK_AGAIN).expect("there");
        assert!(later.kept(b"ann").is_none() && later.kept(b"bob").is_some());
        assert!(Arc::ptr_eq(
            &later,
            &open(bytes, now + 3 * LOOK_AGAIN).expect("there")
        ));
        assert_eq!(
            open(directory.path().as_os_str().as_bytes(), now)
                .expect_err("a directory")
                .call,
            "read()"
        );
        fs::write(&path, vec![b'a'; LARGEST as usize + 1]).expect("written");
        let error = open(bytes, now + 5 * LOOK_AGAIN).expect_err("too large");
        assert_eq!(error.error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn names_that_would_break_a_line_are_none() {
        assert!(is_user("ann") && is_user("ann@example.com") && is_user("å b"));
        assert!(!is_user("") && !is_user("a:b") && !is_user("#a") && !is_user("a\nb"));
    }
}
