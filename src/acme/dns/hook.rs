//! A program of this machine that puts and removes records: `PROGRAM ARGUMENTS… present|remove NAME
//! VALUE`.
//!
//! It gets an environment of its own (a path and nothing else: no token of ours or of others), no
//! input, `/` as its directory, and a bounded time; then it and what it started are killed. What it
//! writes is kept for the error, the end of it if it is long.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::error::DnsError;
use super::{Pending, Record, Service, Zone};
use crate::unit::printable;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How often an exit is looked for.
const PAUSE: Duration = Duration::from_millis(20);

/// The most bytes of output that are kept.
const MOST_OUTPUT: usize = 16 * 1024;

/// The most characters of it in an error.
const MOST_WORDS: usize = 500;

pub(super) struct Hook {
    pub(super) command: Vec<Box<str>>,
    pub(super) timeout: Duration,
}

/// A process and its group, killed if it is left behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Not waited for yet, so the number is still its own; and it leads its group.
        if let (Ok(None), Ok(number)) = (self.0.try_wait(), i32::try_from(self.0.id())) {
            let _ = killpg(Pid::from_raw(number), Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

impl Hook {
    async fn run(&self, word: &str, record: &Record) -> Result<(), DnsError> {
        let program = self.command.first().cloned().unwrap_or_default();
        let failed = |problem: String, output: &[u8]| DnsError::Program {
            program: program.clone(),
            problem: problem.into(),
            output: words(output),
        };
        let cannot = |error: io::Error| failed(format!("cannot be run: {error}"), b"");
        let (reader, writer) = io::pipe().map_err(cannot)?;
        let child = Command::new(&*program)
            .args(self.command.iter().skip(1).map(|argument| &**argument))
            .args([word, &record.name, &record.value])
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(cannot)?)
            .stderr(writer)
            .process_group(0)
            .spawn();
        let mut running = Running(child.map_err(cannot)?);
        let mut reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(cannot)?;
        let mut output = Vec::new();
        let outcome = tokio::time::timeout(self.timeout, async {
            let mut is_open = true;
            let mut buffer = [0; 4096];
            // What the program started may keep the pipe open, so its end is not waited for.
            loop {
                if let Some(status) = running.0.try_wait()? {
                    while let Ok(length @ 1..) = reader.try_read(&mut buffer) {
                        keep(&mut output, &buffer[..length]);
                    }
                    return io::Result::Ok(status);
                }
                tokio::select! {
                    length = reader.read(&mut buffer), if is_open => match length {
                        Ok(length @ 1..) => keep(&mut output, &buffer[..length]),
                        _ => is_open = false,
                    },
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        });
        let status: ExitStatus = match outcome.await {
            Ok(status) => status.map_err(cannot)?,
            Err(_) => {
                let problem = format!("did not end within {:?} and was killed", self.timeout);
                return Err(failed(problem, &output));
            }
        };
        match status.success() {
            true => Ok(()),
            false => Err(failed(format!("failed ({status})"), &output)),
        }
    }
}

impl Service for Hook {
    /// Zones are the program's own affair.
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>> {
        Box::pin(async move { Ok(candidates.first().map(|name| Zone::new(*name, ""))) })
    }

    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(self.run("present", record))
    }

    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()> {
        Box::pin(self.run("remove", record))
    }
}

/// Keeps the end of what is written.
fn keep(output: &mut Vec<u8>, more: &[u8]) {
    output.extend(more);
    if output.len() > 2 * MOST_OUTPUT {
        output.drain(..output.len() - MOST_OUTPUT);
    }
}

/// The last words of a program, in one line.
fn words(output: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(output);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let skipped = words.chars().count().saturating_sub(MOST_WORDS);
    let words: String = words.chars().skip(skipped).collect();
    printable::escape(&words).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn record() -> Record {
        Record {
            zone: Zone::new("example.org", ""),
            name: "_acme-challenge.example.org".into(),
            value: "VALUE".into(),
        }
    }

    /// A shell script as hook; its directory is `$1`.
    fn hook(directory: &Path, script: &str) -> Hook {
        let path = directory.join("hook");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        // Not run by itself: a test that starts a program at this moment may hold the new file open
        // for writing.
        Hook {
            command: vec![
                "/bin/sh".into(),
                path.to_string_lossy().into(),
                directory.to_string_lossy().into(),
            ],
            timeout: Duration::from_secs(30),
        }
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).expect("readable")
    }

    #[tokio::test]
    async fn a_program_is_called_with_the_word_the_name_and_the_value_and_a_clean_environment() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = "echo \"$2 $3 $4\" >\"$1/called\"; env >\"$1/environment\"; pwd >\"$1/place\"";
        let hook = hook(directory.path(), script);
        hook.run("present", &record()).await.expect("it ran");
        assert_eq!(
            read(&directory.path().join("called")),
            "present _acme-challenge.example.org VALUE\n"
        );
        assert_eq!(read(&directory.path().join("place")), "/\n");
        let environment = read(&directory.path().join("environment"));
        assert!(
            environment.contains("PATH=/usr/local/sbin:"),
            "{environment}"
        );
        assert!(!environment.contains("CARGO"), "{environment}");
        hook.run("remove", &record()).await.expect("it ran");
        assert!(read(&directory.path().join("called")).starts_with("remove "));
    }

    #[tokio::test]
    async fn a_failure_tells_the_status_and_the_last_words() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = "seq 1 20000; echo 'no such zone' >&2; printf 'bad\\033[31m'; exit 3";
        let error = hook(directory.path(), script)
            .run("present", &record())
            .await;
        let told = error.expect_err("it fails").to_string();
        assert!(
            told.contains("`/bin/sh` failed (exit status: 3); it wrote: "),
            "{told}"
        );
        assert!(told.ends_with("20000 no such zone bad^[[31m"), "{told}");
        assert!(told.len() < 700, "{told}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed_with_what_it_started() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = "sleep 1000 & echo $! >\"$1/child\"; echo waiting; wait";
        let mut hook = hook(directory.path(), script);
        hook.timeout = Duration::from_secs(2);
        let error = hook.run("present", &record()).await.expect_err("it hangs");
        let told = error.to_string();
        assert!(
            told.contains("did not end within 2s and was killed; it wrote: waiting"),
            "{told}"
        );
        let child: i32 = read(&directory.path().join("child"))
            .trim()
            .parse()
            .expect("a number");
        // It is dead or a zombie that its new parent has not looked at.
        let is_gone = || match std::fs::read_to_string(format!("/proc/{child}/stat")) {
            Ok(stat) => stat.contains(") Z ") || stat.contains(") X "),
            Err(_) => true,
        };
        let start = std::time::Instant::now();
        while !is_gone() {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "the child lives on"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_child_that_stays_behind_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        // It holds the output open for longer than the test may take.
        let script = "sleep 1000 & echo $! >\"$1/child\"; exit 0";
        hook(directory.path(), script)
            .run("present", &record())
            .await
            .expect("it ran");
        let child = read(&directory.path().join("child"));
        let child = Pid::from_raw(child.trim().parse().expect("a number"));
        nix::sys::signal::kill(child, Signal::SIGKILL).expect("ours");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told() {
        let hook = Hook {
            command: vec!["/no/such/program".into()],
            timeout: Duration::from_secs(1),
        };
        let error = hook.run("present", &record()).await.expect_err("not there");
        assert!(
            error
                .to_string()
                .starts_with("the program `/no/such/program` cannot be run: "),
            "{error}"
        );
    }
}
