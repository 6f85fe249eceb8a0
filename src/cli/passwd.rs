//! `openclaw passwd`: who may log in, in a file that `auth_basic_user_file` names.
//!
//! The file is changed in the line of the user and nowhere else, and put into its place whole. A
//! password is never an argument: it is typed without being shown, or comes on standard input.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::conf_file;
use super::fmt::replace;
use super::print;
use super::session::Failure;
use super::words::Daemon;
use crate::access::passwords::file::{self, LARGEST, PasswordFile};
use crate::access::passwords::hash::{self, LONGEST_PASSWORD, NewForm, Stored};
use crate::conf::typed::Config;
use crate::conf::typed::location::{Location, Settings};
use crate::process::privileges;

/// What is to be done with a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// Give a password, and make the user if there is none.
    Set(NewForm),
    /// Take the user out.
    Delete,
    /// Say whether a password is the user's.
    Verify,
}

/// Does it. The words are the file, which may be left out, and the user.
pub fn run(words: &[String], deed: Deed, daemon: &Daemon) -> Result<(), Failure> {
    let (path, user) = match words {
        [user] => (None, user),
        [path, user, ..] => (Some(PathBuf::from(path)), user),
        [] => return Err(Failure::failed("no user is named")),
    };
    if !file::is_user(user) {
        return Err(Failure::failed(format!(
            "`{}` cannot be the name of a user: no colon, no control characters, no `#` in front",
            user.escape_debug()
        )));
    }
    let config = conf_file::read_quietly(daemon).map(|(_, config)| config);
    let path = match path {
        Some(path) => path,
        None => named(config.as_ref())?,
    };
    let told = |error: io::Error| Failure::failed(format!("`{}`: {error}", path.display()));
    let text = match read(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(told(error)),
    };
    let known = PasswordFile::parse(text.as_deref().map_or(&[], |text| text));
    let kept = known.kept(user.as_bytes());
    let no_user = || Failure::failed(format!("`{}` has no user `{user}`", path.display()));
    match deed {
        Deed::Verify => {
            let stored = Stored::parse(kept.ok_or_else(no_user)?)
                .map_err(|why| Failure::failed(format!("`{user}`: {why}")))?;
            let password = ask("Password: ").map_err(told)?;
            if !stored.verify(&password) {
                return Err(Failure::failed(format!(
                    "that is not the password of `{user}`"
                )));
            }
            print(&format!("that is the password of `{user}`\n"));
        }
        Deed::Delete => {
            let text = text.as_deref().map_or(&[][..], |text| text);
            let changed = file::without_user(text, user).ok_or_else(no_user)?;
            replace(&path, &changed).map_err(told)?;
            print(&format!("`{user}` can no longer log in\n"));
        }
        Deed::Set(form) => {
            let password = ask("New password: ").map_err(told)?;
            if password.is_empty() {
                return Err(Failure::failed("the password is empty"));
            }
            if is_terminal() && *ask("Once more: ").map_err(told)? != *password {
                return Err(Failure::failed("the two are not the same"));
            }
            let Some(made) = hash::make(form, &password) else {
                return Err(Failure::failed(
                    "the password is longer than bcrypt can keep; `--argon2id` keeps longer ones",
                ));
            };
            match &text {
                Some(text) => replace(&path, &file::with_user(text, user, &made)).map_err(told)?,
                None => create(&path, &file::with_user(b"", user, &made), config.as_ref())
                    .map_err(told)?,
            }
            print(&match kept {
                Some(_) => format!("`{user}` has a new password in `{}`\n", path.display()),
                None => format!("`{user}` can log in with `{}`\n", path.display()),
            });
        }
    }
    Ok(())
}

/// The file that the configuration names, if there is one only.
fn named(config: Option<&Config>) -> Result<PathBuf, Failure> {
    fn collect(settings: &Settings, found: &mut Vec<PathBuf>) {
        let basic = settings
            .guard
            .as_ref()
            .and_then(|guard| guard.basic.as_ref());
        let path = basic.and_then(|basic| basic.file.as_ref()?.literal());
        if let Some(path) = path {
            found.push(PathBuf::from(std::ffi::OsStr::from_bytes(path)));
        }
    }
    fn walk(locations: &[Location], found: &mut Vec<PathBuf>) {
        for location in locations {
            collect(&location.settings, found);
            walk(&location.children, found);
        }
    }
    let mut found = Vec::new();
    for server in config.iter().flat_map(|config| &config.http.servers) {
        collect(&server.settings, &mut found);
        walk(&server.locations, &mut found);
    }
    found.sort();
    found.dedup();
    match found.as_slice() {
        [path] => Ok(path.clone()),
        [] => Err(Failure::failed(
            "the configuration names no file of passwords\nhint: `openclaw passwd FILE USER`",
        )),
        _ => Err(Failure::failed(format!(
            "the configuration names {} files of passwords\nhint: `openclaw passwd FILE USER`",
            found.len()
        ))),
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LARGEST {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

/// Makes the file, for its owner to change and for whom the daemon runs as to read.
fn create(path: &Path, bytes: &[u8], config: Option<&Config>) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    let named = config.and_then(|config| config.process.user.as_ref());
    let reader = match named {
        Some((user, group, _)) => privileges::look_up(user, group.as_deref()),
        None => privileges::look_up(privileges::NOBODY, None),
    };
    let reader = reader.ok();
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&fresh)?;
        if let Some(reader) = reader.filter(|_| privileges::is_root()) {
            nix::unistd::fchown(&file, None, Some(reader.group))?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        // Unlike a rename it does not take the place of a file that came meanwhile.
        fs::hard_link(&fresh, path)?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    })();
    // It is not there if it could not be made.
    let _ = fs::remove_file(&fresh);
    written
}

fn is_terminal() -> bool {
    io::IsTerminal::is_terminal(&io::stdin())
}

/// A line of standard input; on a terminal without being shown.
pub(super) fn ask(prompt: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let hidden = match is_terminal() {
        true => Some(Hidden::new(prompt)?),
        false => None,
    };
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_PASSWORD + 2));
    let most = LONGEST_PASSWORD as u64 + 2;
    io::stdin().lock().take(most).read_until(b'\n', &mut line)?;
    drop(hidden);
    while line
        .last()
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    {
        line.pop();
    }
    match line.len() > LONGEST_PASSWORD {
        true => Err(io::Error::other("the password is too long")),
        false => Ok(line),
    }
}

/// A terminal that does not show what is typed; it does again when this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn new(prompt: &str) -> io::Result<Self> {
        let before = tcgetattr(io::stdin().as_fd())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        // A line that was typed ahead would be shown.
        tcsetattr(io::stdin().as_fd(), SetArg::TCSAFLUSH, &silent)?;
        let mut errors = io::stderr();
        let _ = errors.write_all(prompt.as_bytes());
        let _ = errors.flush();
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &self.0);
        let _ = io::stderr().write_all(b"\n");
    }
}
