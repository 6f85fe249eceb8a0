//! `install.sh` as far as it goes without root: the trial in one directory, from a program and from
//! a release; and the scripts that make releases.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::support::client::Client;
use super::support::ports::reserve;
use super::support::server::eventually;

const PROGRAM: &str = env!("CARGO_BIN_EXE_openclaw");

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn shell(script: &Path, arguments: &[&str]) -> Output {
    Command::new("sh")
        .arg(script)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("every system has a shell")
}

fn install(arguments: &[&str]) -> Output {
    shell(&source("install.sh"), arguments)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Directories of a test, and a program in the first one.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let bench = Self { directory };
        // As good as a copy of the program, and much smaller.
        bench.script("program", &format!("exec {PROGRAM} \"$@\""));
        bench
    }

    fn path(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        path.to_str().expect("a temporary directory").to_owned()
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    }

    /// Makes a release of the program in `dist`.
    fn release(&self) -> Output {
        let (program, out) = (self.path("program"), self.path("dist"));
        let output = Command::new("sh")
            .arg(source("assets/package.sh"))
            .args(["--program", &program, "--arch", "x86_64", "--out", &out])
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .stdin(Stdio::null())
            .output();
        let output = output.expect("every system has a shell");
        assert!(output.status.success(), "{}", said(&output));
        output
    }

    fn tarball(&self) -> String {
        self.path("dist/openclaw-linux-x86_64.tar.gz")
    }

    fn is_installed(&self) -> bool {
        Path::new(&self.path("trial/bin/openclaw")).exists()
    }
}

#[test]
fn an_address_for_an_agreement_needs_the_agreement() {
    let output = install(&["--email", "me@example.com", "--prefix", "/nowhere"]);
    assert!(!output.status.success());
    assert!(said(&output).contains("--email goes with --agree-tos"));
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

#[test]
fn a_release_is_installed_only_with_the_right_checksum() {
    let bench = Bench::new();
    bench.release();
    let (tarball, prefix) = (bench.tarball(), bench.path("trial"));
    let from = |file: &str, more: &[&str]| {
        let arguments = [&["--from", file, "--prefix", &prefix], more].concat();
        install(&arguments)
    };
    // Without a checksum, with a wrong one, and with bytes that were changed.
    let bare = bench.path("bare.tar.gz");
    fs::copy(&tarball, &bare).expect("ours");
    let zeros = "0".repeat(64);
    let mut changed = fs::read(&tarball).expect("made");
    changed.push(0);
    let damaged = bench.path("damaged.tar.gz");
    fs::write(&damaged, changed).expect("ours");
    fs::copy(format!("{tarball}.sha256"), format!("{damaged}.sha256")).expect("ours");
    for (output, reason) in [
        (from(&bare, &[]), "there is no checksum"),
        (
            from(&tarball, &["--sha256", &zeros]),
            "is wrong, nothing was changed",
        ),
        (from(&damaged, &[]), "is wrong, nothing was changed"),
    ] {
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(reason), "{}", said(&output));
        assert!(!bench.is_installed());
    }
    let output = from(&tarball, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(bench.is_installed());
    let sum = fs::read_to_string(format!("{tarball}.sha256")).expect("made");
    let sum = sum.split(' ').next().expect("a sum").to_uppercase();
    let output = from(&bare, &["--sha256", &sum]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn through_a_pipe_it_takes_a_release_and_says_so_if_there_is_none() {
    let bench = Bench::new();
    bench.release();
    let piped = |arguments: &[&str]| {
        let mut child = Command::new("sh")
            .args(["-s", "--"])
            .args(arguments)
            // Nothing of ours lies there.
            .current_dir(bench.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("every system has a shell");
        let script = fs::read(source("install.sh")).expect("ours");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(&script).expect("it reads all of it");
        drop(input);
        child.wait_with_output().expect("ours")
    };
    let prefix = bench.path("trial");
    let output = piped(&["--prefix", &prefix]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("name a release: --from URL"),
        "{}",
        said(&output)
    );
    let program = bench.path("program");
    let output = piped(&["--prefix", &prefix, "--from", &program]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("assets/ is missing"),
        "{}",
        said(&output)
    );
    let tarball = bench.tarball();
    let output = piped(&["--prefix", &prefix, "--from", &tarball]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(bench.is_installed());
}

#[test]
fn a_release_installs_itself_from_where_it_was_unpacked() {
    let bench = Bench::new();
    bench.release();
    let unpacked = Command::new("tar")
        .args(["-xzf", &bench.tarball(), "-C", &bench.path("")])
        .status();
    assert!(unpacked.expect("every system has tar").success());
    let version = env!("CARGO_PKG_VERSION");
    let script = bench.path(&format!("openclaw-{version}-linux-x86_64/install.sh"));
    let output = shell(Path::new(&script), &["--prefix", &bench.path("trial")]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(bench.is_installed());
}

#[test]
fn a_trial_is_removed_with_or_without_what_is_yours() {
    let bench = Bench::new();
    let (program, prefix) = (bench.path("program"), bench.path("trial"));
    let set_up = ["--from", &program, "--prefix", &prefix];
    assert!(install(&set_up).status.success());
    let own = bench.path("trial/own");
    fs::write(&own, "mine").expect("ours");
    let output = install(&["--prefix", &prefix, "--uninstall"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!bench.is_installed());
    assert!(Path::new(&bench.path("trial/conf/openclaw.conf")).exists());
    assert!(install(&set_up).status.success());
    let output = install(&["--prefix", &prefix, "--uninstall", "--purge"]);
    assert!(output.status.success(), "{}", said(&output));
    // What it did not bring it does not take.
    assert!(Path::new(&own).exists());
    assert!(!Path::new(&bench.path("trial/conf")).exists());
    let output = install(&["--prefix", &prefix, "--uninstall"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn a_release_has_its_package_and_the_same_bytes_each_time() {
    let bench = Bench::new();
    bench.release();
    let read = |name: &str| fs::read(bench.path("dist").as_str().to_owned() + "/" + name);
    let package = format!("openclaw-proxy_{}_amd64.deb", env!("CARGO_PKG_VERSION"));
    let names = ["openclaw-linux-x86_64.tar.gz", &package];
    let first = names.map(|name| read(name).expect("made"));
    bench.release();
    assert!(names.map(|name| read(name).expect("made")) == first);
    let field = |arguments: &[&str]| {
        let output = Command::new("dpkg-deb").args(arguments).output();
        said(&output.expect("Debian has it"))
    };
    let path = bench.path("dist") + "/" + &package;
    assert_eq!(field(&["-f", &path, "Package"]), "openclaw-proxy\n");
    let files = field(&["-c", &path]);
    for file in [
        "./usr/bin/openclaw",
        "./usr/lib/systemd/system/openclaw.service",
        "./usr/lib/systemd/system/openclaw.socket",
        "./usr/share/openclaw/openclaw.conf",
        "./usr/lib/sysusers.d/openclaw.conf",
        "./etc/logrotate.d/openclaw",
    ] {
        assert!(
            files
                .lines()
                .any(|line| line.ends_with(&format!(" {file}"))),
            "{file}\n{files}"
        );
    }
    let unit = Command::new("dpkg-deb")
        .args(["--fsys-tarfile", &path])
        .output();
    let unit = String::from_utf8_lossy(&unit.expect("Debian has it").stdout).into_owned();
    assert!(unit.contains("ExecStart=/usr/bin/openclaw --daemon"));
    assert!(!unit.contains("ExecStart=/usr/local/"));
}
