//! Where the daemon is asked: which control socket, and what to say when none answers.
//!
//! Invariant: a socket that somebody named is the only one that is tried. The wrong daemon must not
//! be changed because the right one does not run.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};

use crate::process::places;

/// The sockets to try, in order: the one that somebody named, or else the usual ones.
pub fn candidates(named: Option<PathBuf>) -> Vec<PathBuf> {
    match named {
        Some(path) => vec![path],
        None => places::usual_sockets(),
    }
}

/// Sockets that were tried, and why none answered.
#[derive(Debug, Default)]
pub struct Tried {
    /// Each with its reason.
    pub sockets: Vec<(PathBuf, io::Error)>,
}

impl Tried {
    /// For people: what was tried, and the way out.
    pub fn text(&self) -> String {
        let mut text = String::from("openclaw: no running openclaw was found");
        let mut hints = Vec::new();
        let width = self.sockets.iter().map(|(path, _)| path.as_os_str().len());
        let width = width.max().unwrap_or(0);
        for (path, error) in &self.sockets {
            let (why, hint) = reason(path, error);
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {:<width$}  {why}", path.display());
            hints.extend(hint);
        }
        if hints.is_empty() {
            hints.push(
                "start it with `systemctl start openclaw` or `openclaw --daemon`; \
                 another socket is named by `--socket PATH`"
                    .to_owned(),
            );
        }
        hints.dedup();
        for hint in hints {
            let _ = write!(text, "\nhint: {hint}");
        }
        text
    }
}

/// Why a socket did not answer, and what helps.
pub fn reason(path: &Path, error: &io::Error) -> (String, Option<String>) {
    match error.kind() {
        io::ErrorKind::NotFound => ("does not exist".to_owned(), None),
        io::ErrorKind::ConnectionRefused => (
            "refused: the socket is there, but its daemon is gone".to_owned(),
            Some("start it with `systemctl start openclaw` or `openclaw --daemon`".to_owned()),
        ),
        io::ErrorKind::PermissionDenied => {
            // The socket itself, or the first directory on the way that can be looked at.
            let seen = path
                .ancestors()
                .find_map(|path| Some((path, path.metadata().ok()?)));
            let Some((at, about)) = seen else {
                return ("permission denied".to_owned(), None);
            };
            let (user, group) = (name_of_user(about.uid()), name_of_group(about.gid()));
            let mode = about.mode() & 0o7777;
            let why = format!(
                "permission denied: `{}` is of `{user}:{group}` with mode {mode:04o}",
                at.display()
            );
            // To connect is to write.
            let wanted = if at == path { 0o020 } else { 0o010 };
            let hint = match mode & wanted {
                0 => format!("ask as its owner: `sudo -u {user} openclaw …`, or `sudo openclaw …`"),
                _ => format!(
                    "join its group: `sudo usermod -aG {group} \"$USER\"`, then log in again"
                ),
            };
            (why, Some(hint))
        }
        _ => (error.to_string(), None),
    }
}

/// The name of a user, or the number of one that has none.
pub fn name_of_user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

/// The name of a group, or the number of one that has none.
pub fn name_of_group(gid: u32) -> String {
    match Group::from_gid(Gid::from_raw(gid)) {
        Ok(Some(group)) => group.name,
        _ => gid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_named_is_the_only_one() {
        assert_eq!(candidates(Some("/a".into())), [PathBuf::from("/a")]);
        assert!(candidates(None).contains(&"/run/openclaw/control.sock".into()));
    }

    #[test]
    fn every_reason_is_said_with_what_helps() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("control.sock");
        std::fs::write(&socket, "").expect("fresh");
        let error = |kind: io::ErrorKind| io::Error::from(kind);
        let tried = Tried {
            sockets: vec![("/nowhere".into(), error(io::ErrorKind::NotFound))],
        };
        let text = tried.text();
        assert!(text.contains("/nowhere  does not exist"), "{text}");
        assert!(text.contains("openclaw --daemon"), "{text}");
        let mode = std::os::unix::fs::PermissionsExt::from_mode;
        for (bits, expected) in [(0o600, "sudo -u"), (0o660, "usermod -aG")] {
            std::fs::set_permissions(&socket, mode(bits)).expect("ours");
            let (why, hint) = reason(&socket, &error(io::ErrorKind::PermissionDenied));
            assert!(why.contains(&format!("{bits:04o}")), "{why}");
            assert!(hint.expect("known").contains(expected));
        }
        let (why, _) = reason(&socket, &error(io::ErrorKind::ConnectionRefused));
        assert!(why.contains("its daemon is gone"));
    }
}
