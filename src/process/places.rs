//! Where the daemon keeps its memory and where it can be reached.
//!
//! Owns the usual places. The service and whoever runs the system's configuration use the system's
//! directories; a prefix (`-p`) is a whole setup in one directory; everybody else has the
//! directories of their user. Each configuration file has places of its own, so that two daemons
//! never meet in one store.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use directories::ProjectDirs;
use nix::unistd::geteuid;
use sha2::{Digest as _, Sha256};

use super::Setup;
use crate::conf::typed::process::{ControlSocket, Process};

/// The system's configuration.
pub const SYSTEM_CONF: &str = "/etc/openclaw/openclaw.conf";

/// The places of a daemon, all absolute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// The directory of the store.
    pub state: PathBuf,
    /// The control socket; `None` when it is switched off.
    pub socket: Option<PathBuf>,
}

/// The places that a configuration names, or the usual ones.
pub fn of(setup: &Setup, process: &Process) -> Places {
    let usual = usual(setup);
    Places {
        state: process.state_directory.clone().unwrap_or(usual.state),
        socket: match &process.control_socket {
            ControlSocket::Usual => usual.socket,
            ControlSocket::Path(path) => Some(path.clone()),
            ControlSocket::Off => None,
        },
    }
}

/// The places of a daemon whose configuration names none.
pub fn usual(setup: &Setup) -> Places {
    let is_system = setup.conf == Path::new(SYSTEM_CONF);
    if setup.has_own_prefix && !is_system {
        let state = setup.prefix.join("state");
        return Places {
            socket: Some(state.join("control.sock")),
            state,
        };
    }
    if is_system {
        // systemd says where they are (systemd.exec(5)).
        let given = |name| first_of(env::var_os(name)?.as_os_str());
        let state = given("STATE_DIRECTORY").unwrap_or_else(|| "/var/lib/openclaw".into());
        let run = given("RUNTIME_DIRECTORY").unwrap_or_else(|| "/run/openclaw".into());
        return Places {
            state,
            socket: Some(run.join("control.sock")),
        };
    }
    let dirs = ProjectDirs::from("", "", "openclaw");
    let state = match &dirs {
        Some(dirs) => state_of(dirs),
        // A user without a home.
        None => setup.prefix.join("state"),
    };
    if let Some(dirs) = &dirs
        && setup.conf == dirs.config_dir().join("openclaw.conf")
    {
        let socket = dirs.runtime_dir().unwrap_or(&state).join("control.sock");
        return Places {
            state,
            socket: Some(socket),
        };
    }
    let state = state.join(name_of(&setup.conf));
    Places {
        socket: Some(state.join("control.sock")),
        state,
    }
}

fn state_of(dirs: &ProjectDirs) -> PathBuf {
    dirs.state_dir().unwrap_or(dirs.data_local_dir()).to_owned()
}

/// The directory for what a daemon of this user writes that has no other place.
pub fn user_directory() -> PathBuf {
    match ProjectDirs::from("", "", "openclaw") {
        _ if geteuid().is_root() => "/var/lib/openclaw".into(),
        Some(dirs) => state_of(&dirs),
        None => env::temp_dir(),
    }
}

/// The sockets at which a daemon may be found when nothing is said about it.
pub fn usual_sockets() -> Vec<PathBuf> {
    let mut sockets = vec![PathBuf::from("/run/openclaw/control.sock")];
    if let Some(dirs) = ProjectDirs::from("", "", "openclaw") {
        let state = state_of(&dirs);
        sockets.push(dirs.runtime_dir().unwrap_or(&state).join("control.sock"));
    }
    sockets
}

/// A name for a configuration file among others: short, and not the same for two files.
fn name_of(conf: &Path) -> String {
    let stem = conf.file_stem().unwrap_or_default().to_string_lossy();
    let digest = Sha256::digest(conf.as_os_str().as_bytes());
    let number = digest
        .iter()
        .take(4)
        .fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    format!("{stem}-{number:08x}")
}

/// The first of several directories with colons between them.
fn first_of(list: &OsStr) -> Option<PathBuf> {
    let first = list.as_bytes().split(|&byte| byte == b':').next()?;
    (!first.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(first)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::EarlyLog;

    fn setup(conf: &str, prefix: &str, has_own_prefix: bool) -> Setup {
        Setup {
            conf: conf.into(),
            text: None,
            prefix: prefix.into(),
            has_own_prefix,
            globals: None,
            error_log: EarlyLog::Named("stderr".into()),
            foreground: false,
            has_screen: false,
        }
    }

    #[test]
    fn a_prefix_is_a_whole_setup() {
        let places = usual(&setup("/srv/x/conf/openclaw.conf", "/srv/x", true));
        assert_eq!(places.state, Path::new("/srv/x/state"));
        assert_eq!(
            places.socket.as_deref(),
            Some(Path::new("/srv/x/state/control.sock"))
        );
    }

    #[test]
    fn the_system_configuration_uses_the_system_directories_also_with_a_prefix() {
        for has_own_prefix in [false, true] {
            let places = usual(&setup(SYSTEM_CONF, "/etc/openclaw", has_own_prefix));
            assert_eq!(places.state, Path::new("/var/lib/openclaw"));
            let socket = Path::new("/run/openclaw/control.sock");
            assert_eq!(places.socket.as_deref(), Some(socket));
        }
    }

    #[test]
    fn two_configurations_never_share_a_place() {
        let one = usual(&setup("/srv/a/openclaw.conf", "/srv/a", false));
        let other = usual(&setup("/srv/b/openclaw.conf", "/srv/b", false));
        assert_ne!(one.state, other.state);
        assert_ne!(one.socket, other.socket);
    }
}
