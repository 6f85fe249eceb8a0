//! The Unix socket that the control protocol is served on.
//!
//! Owns the file: its directory, its mode (only its owner may connect) and its end. It is bound while
//! the process still has the rights it was started with, and belongs to the user that the process
//! becomes.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, chown};

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The file's device and inode, to leave a successor's file alone.
    identity: (u64, u64),
}

/// Why there is none.
#[derive(Debug)]
pub enum BindError {
    /// Another daemon answers there.
    InUse(PathBuf),
    /// Something else has the name.
    NotASocket(PathBuf),
    /// A system call failed.
    Failed(PathBuf, io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                out,
                "the control socket \"{}\" belongs to a daemon that runs",
                path.display()
            ),
            Self::NotASocket(path) => write!(
                out,
                "\"{}\" is not a socket, so it cannot be the control socket",
                path.display()
            ),
            Self::Failed(path, error) => write!(
                out,
                "bind() of the control socket \"{}\" failed {}",
                path.display(),
                crate::log::error_log::cause(error)
            ),
        }
    }
}

impl std::error::Error for BindError {}

impl ControlSocket {
    /// Binds it; `owner` gets it and a directory that has to be made.
    pub fn bind(path: &Path, owner: Option<(Uid, Gid)>) -> Result<Self, BindError> {
        let failed = |error: io::Error| BindError::Failed(path.to_owned(), error);
        if let Some(parent) = path.parent() {
            make_directory(parent, 0o755, owner).map_err(failed)?;
        }
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(data) if !data.file_type().is_socket() => {
                return Err(BindError::NotASocket(path.to_owned()));
            }
            // Nobody listens: a daemon that is gone has left it.
            Ok(_) if UnixStream::connect(path).is_err() => fs::remove_file(path).map_err(failed)?,
            Ok(_) => return Err(BindError::InUse(path.to_owned())),
        }
        // From its first moment on for its owner only. No other thread makes files yet.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(failed)?;
        let data = fs::symlink_metadata(path).map_err(failed)?;
        let socket = Self {
            listener,
            path: path.to_owned(),
            identity: (data.dev(), data.ino()),
        };
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        if let Some((user, group)) = owner {
            chown(path, Some(user), Some(group)).map_err(|errno| failed(errno.into()))?;
        }
        socket.listener.set_nonblocking(true).map_err(failed)?;
        Ok(socket)
    }

    /// The bound socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|data| (data.dev(), data.ino()) == self.identity);
        if is_ours {
            // Its directory may belong to root; the next start finds nobody listening.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a directory and those above it, as far as they are missing; `owner` gets what is made last.
pub fn make_directory(path: &Path, mode: u32, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent, 0o755, owner)?;
    }
    DirBuilder::new().mode(mode).create(path)?;
    if let Some((user, group)) = owner {
        chown(path, Some(user), Some(group))?;
    }
    Ok(())
}

/// Hands a directory that root has made, by another word of this program, to the user that needs it.
pub fn hand_over(path: &Path, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    let Some((user, group)) = owner else {
        return Ok(());
    };
    // Not through a link: what it leads to may be anybody's.
    let about = fs::symlink_metadata(path)?;
    if about.is_dir() && about.uid() == 0 && !user.is_root() {
        chown(path, Some(user), Some(group))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_its_owner_only_and_goes_with_the_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run/control.sock");
        let socket = ControlSocket::bind(&path, None).expect("a fresh path");
        let mode = fs::metadata(&path).expect("bound").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = ControlSocket::bind(&path, None).expect_err("somebody listens");
        assert!(matches!(error, BindError::InUse(_)));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_daemon_left_is_replaced_and_anything_else_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        drop(UnixListener::bind(&path).expect("a fresh path"));
        let socket = ControlSocket::bind(&path, None).expect("nobody listens");
        drop(socket);
        fs::write(&path, "precious").expect("a fresh file");
        let error = ControlSocket::bind(&path, None).expect_err("a file");
        assert!(matches!(error, BindError::NotASocket(_)));
        assert_eq!(fs::read_to_string(&path).expect("there"), "precious");
    }
}
