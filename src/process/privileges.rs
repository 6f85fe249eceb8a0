//! Whom the process runs as, and what it may still do.
//!
//! Invariants: there is one thread when the user changes, so that no thread stays behind as root;
//! afterwards nothing leads back to root. One right is kept in the main thread alone, binding ports
//! below 1024, because a reload may add such a port; workers, who face the network, give it up.

use std::ffi::CString;
use std::fmt;
use std::io;

use nix::sys::prctl;
use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, setgroups, setresgid, setresuid};

/// The user of a process that is started as root without `user` (nginx `NGX_USER`).
pub const NOBODY: &str = "nobody";

/// What `nobody` is where no table of users says it, as in a container made from nothing.
const NOBODY_ID: u32 = 65534;

/// A user and a group of this system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    name: Option<CString>,
    /// The user.
    pub user: Uid,
    /// The group.
    pub group: Gid,
}

/// A name that the system does not know, in nginx's words.
#[derive(Debug, PartialEq, Eq)]
pub enum UnknownName {
    /// A user.
    User(String),
    /// A group.
    Group(String),
}

impl UnknownName {
    /// What helps.
    pub fn hint(&self) -> String {
        match self {
            Self::User(name) => format!(
                "create the user with `useradd --system --no-create-home {name}`, or name another"
            ),
            Self::Group(name) => {
                format!("create the group with `groupadd --system {name}`, or name another")
            }
        }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(formatter, "getpwnam(\"{name}\") failed"),
            Self::Group(name) => write!(formatter, "getgrnam(\"{name}\") failed"),
        }
    }
}

impl std::error::Error for UnknownName {}

/// May the user be changed?
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Do we run as this user already?
pub fn is_current(user: &str) -> bool {
    let known = User::from_name(user).ok().flatten();
    known.is_some_and(|known| known.uid == geteuid())
}

/// Looks names up; without a group it is the user's own (nginx takes a group of the user's name,
/// which is that group wherever users have one of their own).
pub fn look_up(user: &str, group: Option<&str>) -> Result<Identity, UnknownName> {
    let found = User::from_name(user).ok().flatten();
    let found = found.ok_or_else(|| UnknownName::User(user.to_owned()))?;
    let group = match group {
        Some(name) => {
            Group::from_name(name)
                .ok()
                .flatten()
                .ok_or_else(|| UnknownName::Group(name.to_owned()))?
                .gid
        }
        None => found.gid,
    };
    Ok(Identity {
        name: CString::new(user).ok(),
        user: found.uid,
        group,
    })
}

/// Whom a process is that nobody gave a user.
pub fn nobody() -> Identity {
    look_up(NOBODY, None).unwrap_or(Identity {
        name: None,
        user: Uid::from_raw(NOBODY_ID),
        group: Gid::from_raw(NOBODY_ID),
    })
}

/// Becomes another user for good. Only root can; the process must have one thread.
pub fn become_user(identity: &Identity) -> io::Result<()> {
    if identity.user.is_root() {
        return Ok(());
    }
    prctl::set_keepcaps(true)?;
    match &identity.name {
        Some(name) => initgroups(name, identity.group)?,
        None => setgroups(&[identity.group])?,
    }
    setresgid(identity.group, identity.group, identity.group)?;
    setresuid(identity.user, identity.user, identity.user)?;
    prctl::set_keepcaps(false)?;
    // Where the right was never there (a container that takes it away) nothing is kept.
    set_capabilities(1 << CAP_NET_BIND_SERVICE).or_else(|_| set_capabilities(0))?;
    if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("the rights of root could be taken back"));
    }
    Ok(())
}

/// Gives up every right of root but to be the owner of root's files.
pub fn become_owner() -> io::Result<()> {
    set_capabilities(0)
}

/// Gives up what the main thread keeps; called by each worker. Root stays root (`user root`).
pub fn renounce() {
    if !is_root() {
        // Giving up rights does not fail, and having none is no harm.
        let _ = set_capabilities(0);
    }
}

/// From `linux/capability.h`.
const CAP_NET_BIND_SERVICE: u32 = 10;
const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    thread: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Limits this thread to these capabilities (capset(2)), a bit for each of the first 32.
fn set_capabilities(mask: u32) -> io::Result<()> {
    let header = CapabilityHeader {
        version: LINUX_CAPABILITY_VERSION_3,
        thread: 0,
    };
    let mut data = [CapabilityData::default(); 2];
    data[0].effective = mask;
    data[0].permitted = mask;
    #[expect(unsafe_code, reason = "no safe wrapper sets capabilities")]
    // SAFETY: both structures have the layout that version 3 of the call reads (a header, two
    // blocks of data) and live during the call, which writes to neither of them.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_system_does_not_know_are_told_in_nginx_words() {
        let error = look_up("no-such-user", None).expect_err("no such user");
        assert_eq!(error.to_string(), "getpwnam(\"no-such-user\") failed");
        assert!(error.hint().contains("useradd"));
        let error = look_up("root", Some("no-such-group")).expect_err("no such group");
        assert_eq!(error.to_string(), "getgrnam(\"no-such-group\") failed");
    }

    #[test]
    fn the_group_is_the_users_own_unless_named() {
        let root = look_up("root", None).expect("every system has it");
        assert!(root.user.is_root());
        assert_eq!(root.group, Gid::from_raw(0));
        let tty = look_up("root", Some("tty")).expect("every system has it");
        assert_ne!(tty.group, root.group);
    }

    #[test]
    fn the_current_user_is_known_by_name() {
        let current = User::from_uid(geteuid()).ok().flatten();
        // A container may run under a number without a name.
        if let Some(current) = current {
            assert!(is_current(&current.name));
        }
        assert!(!is_current("no-such-user"));
    }

    #[test]
    fn a_thread_that_renounces_cannot_bind_a_low_port_any_more() {
        // Capabilities belong to the thread, so the others keep theirs.
        let thread = std::thread::spawn(|| {
            set_capabilities(0).expect("giving up is always allowed");
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("procfs");
            let effective = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))
                .expect("Linux shows it");
            assert_eq!(effective.trim().trim_start_matches('0'), "");
            set_capabilities(1 << CAP_NET_BIND_SERVICE).expect_err("gone for good");
        });
        thread.join().expect("the thread ends well");
    }
}
