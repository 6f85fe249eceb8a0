//! Other programs that are asked: without a shell, for a short time, with an answer of bounded size.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where programs of the system are. Not `PATH`: the doctor may run as root.
const DIRECTORIES: &[&str] = &["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The largest answer.
const MAX_ANSWER: u64 = 4 << 20;

/// What became of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ran {
    /// It is not installed.
    Absent,
    /// It ended well with this on standard output.
    Well(String),
    /// It did not, or not in time; why, in its own words if it had any.
    Badly(String),
}

/// Runs a program to its end, or to the end of our patience.
pub fn run(name: &str, arguments: &[&str]) -> Ran {
    match find(name) {
        Some(path) => run_file(&path, arguments, PATIENCE),
        None => Ran::Absent,
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let paths = DIRECTORIES.iter().map(|it| Path::new(it).join(name));
    paths.into_iter().find(|path| path.is_file())
}

fn run_file(path: &Path, arguments: &[&str], patience: Duration) -> Ran {
    let started = Command::new(path)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", DIRECTORIES.join(":"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return Ran::Badly(error.to_string()),
    };
    let read = |from: Option<Box<dyn std::io::Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(from) = from {
                // What cannot be read is not there.
                let _ = from.take(MAX_ANSWER).read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let answer = read(child.stdout.take().map(|it| Box::new(it) as _));
    let complaint = read(child.stderr.take().map(|it| Box::new(it) as _));
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            _ => {
                // The readers are left to themselves: a grandchild may hold the pipes.
                let _ = child.kill();
                let _ = child.wait();
                return Ran::Badly("it took too long".to_owned());
            }
        }
    };
    let join = |reader: thread::JoinHandle<String>| {
        while !reader.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        match reader.is_finished() {
            true => reader.join().unwrap_or_default(),
            false => String::new(),
        }
    };
    let (answer, complaint) = (join(answer), join(complaint));
    match status.success() {
        true => Ran::Well(answer),
        false => Ran::Badly(match complaint.lines().next() {
            Some(line) if !line.trim().is_empty() => line.trim().to_owned(),
            _ => status.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_run_without_a_shell_and_for_a_short_time() {
        assert_eq!(run("no-such-program", &[]), Ran::Absent);
        assert_eq!(
            run("echo", &["$HOME; x"]),
            Ran::Well("$HOME; x\n".to_owned())
        );
        assert!(matches!(run("false", &[]), Ran::Badly(_)));
        let Ran::Badly(why) = run("ls", &["/no/such/place"]) else {
            panic!("it is not there");
        };
        assert!(why.contains("/no/such/place"), "{why}");
        let sleep = find("sleep").expect("everywhere");
        let hung = run_file(&sleep, &["1000"], Duration::from_millis(20));
        assert_eq!(hung, Ran::Badly("it took too long".to_owned()));
    }
}
