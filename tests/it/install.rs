//! `install.sh` as far as it goes without root: the trial in one directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::support::client::Client;
use super::support::ports::reserve;
use super::support::server::eventually;

const PROGRAM: &str = env!("CARGO_BIN_EXE_openclaw");

fn install(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh");
    Command::new("sh")
        .arg(script)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("every system has a shell")
}

#[test]
fn a_trial_serves_from_its_directory_and_installing_again_keeps_the_configuration() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let prefix = directory.path().join("trial");
    let prefix_text = prefix.to_str().expect("text");
    let port = reserve();
    let port_text = port.number.to_string();
    let arguments = [
        "--from",
        PROGRAM,
        "--prefix",
        prefix_text,
        "--port",
        &port_text,
    ];
    let output = install(&arguments);
    assert!(output.status.success(), "{output:?}");
    let program = prefix.join("bin/openclaw");
    let order = |arguments: &[&str]| {
        let status = Command::new(&program)
            .args(["-p", prefix_text])
            .args(arguments)
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("installed").success(), "{arguments:?}");
    };
    order(&[]);
    let answer = Client::connect(port.number).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        answer.text().contains("<h1>OpenClaw works</h1>"),
        "{answer:?}"
    );
    let conf = prefix.join("conf/openclaw.conf");
    let changed = fs::read_to_string(&conf).expect("there") + "# mine\n";
    fs::write(&conf, &changed).expect("ours");
    // The running program does not stand in the way.
    let output = install(&arguments);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(&conf).expect("there"), changed);
    order(&["-s", "reload"]);
    order(&["-s", "quit"]);
    eventually("it has ended", || {
        Client::try_connect(port.number).is_err().then_some(())
    });
}

#[test]
fn a_program_that_does_not_work_leaves_the_old_one() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let prefix = directory.path().join("trial");
    let prefix_text = prefix.to_str().expect("text");
    let output = install(&["--from", PROGRAM, "--prefix", prefix_text]);
    assert!(output.status.success(), "{output:?}");
    let program = prefix.join("bin/openclaw");
    let before = fs::metadata(&program).expect("installed").len();
    let broken = directory.path().join("broken");
    // One does not run at all, the other does not understand the configuration.
    for script in ["exit 1", "[ \"$1\" = -v ]"] {
        fs::write(&broken, format!("#!/bin/sh\n{script}\n")).expect("ours");
        fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).expect("ours");
        let broken = broken.to_str().expect("text");
        let output = install(&["--from", broken, "--prefix", prefix_text]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(fs::metadata(&program).expect("there").len(), before);
    }
    let output = install(&["--frm", PROGRAM]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
