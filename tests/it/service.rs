//! What a service manager sees and gives: messages, the watchdog, sockets that listen already.

use std::fs;
use std::io::IoSliceMut;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use nix::sys::{ptrace, wait};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use super::support::client::Client;
use super::support::ports::reserve;
use super::support::server::eventually;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The program as a manager runs it.
struct Service {
    directory: TempDir,
    notify: UnixDatagram,
    child: Option<Child>,
}

impl Service {
    /// The configuration stands below `pid` and `error_log` lines.
    fn new(conf: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let notify = UnixDatagram::bind(directory.path().join("notify")).expect("a fresh path");
        let patience = Some(Duration::from_secs(20));
        notify.set_read_timeout(patience).expect("not zero");
        let service = Self {
            directory,
            notify,
            child: None,
        };
        service.configure(conf);
        service
    }

    fn configure(&self, conf: &str) {
        let user = if geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let main = format!("error_log error.log notice;\npid a.pid;\n{user}\n");
        fs::write(self.path("openclaw.conf"), main + conf).expect("ours");
    }

    fn start(&mut self, variables: &[(&str, &str)]) {
        let mut command = self.command(PROGRAM);
        command.arg("--daemon").arg("-p").arg(self.directory.path());
        self.spawn(command.envs(variables.iter().copied()));
    }

    /// Gives the program these sockets as descriptors 3 and 4.
    fn start_with(&mut self, first: impl Into<OwnedFd>, second: impl Into<OwnedFd>) {
        self.start_with_all(first.into(), second.into(), &[]);
    }

    /// As [`Self::start_with`], by a manager that keeps sockets.
    fn start_keeping(&mut self, first: impl Into<OwnedFd>, second: impl Into<OwnedFd>) {
        self.start_with_all(first.into(), second.into(), &[("FDSTORE", "16")]);
    }

    fn start_with_all(&mut self, first: OwnedFd, second: OwnedFd, variables: &[(&str, &str)]) {
        let script = "exec 3<&0 4>&1 </dev/null >/dev/null; \
             LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:other \
             exec \"$0\" --daemon -p \"$1\"";
        let mut command = self.command("sh");
        command.args(["-c", script, PROGRAM]);
        command.arg(self.directory.path());
        self.spawn(
            command
                .envs(variables.iter().copied())
                .stdin(first)
                .stdout(second),
        );
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("NOTIFY_SOCKET", self.path("notify"))
            .stdin(Stdio::null());
        command
    }

    fn spawn(&mut self, command: &mut Command) {
        self.child = Some(command.spawn().expect("the program must be there"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("error.log")).unwrap_or_default()
    }

    /// The next message to the manager, with the sockets that came along.
    fn given(&self) -> (String, Vec<OwnedFd>) {
        let mut buffer = [0; 512];
        let mut space = nix::cmsg_space!([i32; 8]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::empty();
        let message =
            recvmsg::<UnixAddr>(self.notify.as_raw_fd(), &mut parts, Some(&mut space), flags);
        let message = message.expect("a message comes");
        let mut sockets = Vec::new();
        for part in message.cmsgs().expect("there is space") {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                #[expect(unsafe_code, reason = "a number becomes a descriptor in no other way")]
                // SAFETY: the kernel has just made these descriptors for us.
                sockets.extend(
                    numbers
                        .iter()
                        .map(|number| unsafe { OwnedFd::from_raw_fd(*number) }),
                );
            }
        }
        let length = message.bytes;
        (
            String::from_utf8_lossy(&buffer[..length]).into_owned(),
            sockets,
        )
    }

    /// The next message to the manager.
    fn told(&self) -> String {
        let mut buffer = [0; 512];
        let length = self.notify.recv(&mut buffer).expect("a message comes");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("started");
        Pid::from_raw(child.id().cast_signed())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("ours and not yet waited for");
    }

    fn wait(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("started");
        eventually("it has ended", || child.try_wait().expect("ours"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _gone = child.kill();
            let _status = child.wait();
        }
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_openclaw");

fn answering(listen: impl std::fmt::Display, text: &str) -> String {
    format!(
        "daemon on;\nworker_processes 2;\nevents {{ }}\nhttp {{\naccess_log off;\n\
         server {{ listen {listen}; return 200 {text}; }}\n}}\n"
    )
}

fn local(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("bound")
}

#[test]
fn the_manager_is_told_how_far_it_is() {
    let port = reserve();
    let listen = format!("127.0.0.1:{}", port.number);
    let mut service = Service::new(&answering(&listen, "first"));
    service.start(&[]);
    let ready = format!("READY=1\nMAINPID={}\nSTATUS=", service.pid());
    let serving = |number| format!("{ready}serving generation {number} on 1 port with 2 workers");
    assert_eq!(service.told(), serving(1));
    assert_eq!(Client::connect(port.number).ask(GET).text(), "first");
    service.signal(Signal::SIGHUP);
    let reading = service.told();
    assert!(
        reading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reading}"
    );
    assert_eq!(service.told(), serving(2));
    service.configure("nonsense on;\n");
    service.signal(Signal::SIGHUP);
    assert!(service.told().starts_with("RELOADING=1\n"));
    let refused = "; the last reload was refused, the error log says why";
    assert_eq!(service.told(), serving(2) + refused);
    service.signal(Signal::SIGQUIT);
    assert!(service.told().starts_with("STOPPING=1\n"));
    assert!(service.wait().success());
}

#[test]
fn the_watchdog_hears_of_life_until_a_worker_is_stuck() {
    let port = reserve();
    let listen = format!("127.0.0.1:{}", port.number);
    let mut service = Service::new(&answering(&listen, "text"));
    service.start(&[("WATCHDOG_USEC", "200000")]);
    assert!(service.told().starts_with("READY=1\n"));
    for _ in 0..3 {
        assert_eq!(service.told(), "WATCHDOG=1");
    }
    let tasks = fs::read_dir(format!("/proc/{}/task", service.pid())).expect("it runs");
    let worker = tasks
        .map(|task| task.expect("it runs").path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "worker 1\n"));
    let number = worker.and_then(|task| task.file_name()?.to_str()?.parse().ok());
    let worker = Pid::from_raw(number.expect("a worker has its name"));
    // Holds this one thread as it is.
    ptrace::seize(worker, ptrace::Options::empty()).expect("a process of ours");
    ptrace::interrupt(worker).expect("seized");
    wait::waitpid(worker, Some(wait::WaitPidFlag::__WALL)).expect("it stops");
    eventually("the lack of answers is noticed", || {
        service
            .said()
            .contains("1 workers do not answer")
            .then_some(())
    });
    service.notify.set_nonblocking(true).expect("a socket");
    let mut buffer = [0; 64];
    // What was told before is taken, then nothing comes any more.
    while service.notify.recv(&mut buffer).is_ok() {}
    let noticed = |said: &str| said.matches("do not answer").count();
    let before = noticed(&service.said());
    eventually("it is noticed again", || {
        (noticed(&service.said()) > before).then_some(())
    });
    service.notify.recv(&mut buffer).expect_err("not a word");
    service.notify.set_nonblocking(false).expect("a socket");
    ptrace::detach(worker, None).expect("seized");
    assert_eq!(service.told(), "WATCHDOG=1");
}

#[test]
fn without_a_watchdog_or_for_another_process_nothing_is_told() {
    let port = reserve();
    let listen = format!("127.0.0.1:{}", port.number);
    let mut service = Service::new(&answering(&listen, "text"));
    service.start(&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
    assert!(service.told().starts_with("READY=1\n"));
    assert_eq!(Client::connect(port.number).ask(GET).text(), "text");
    service.signal(Signal::SIGTERM);
    assert!(service.told().starts_with("STOPPING=1\n"));
}

#[test]
fn sockets_of_the_manager_are_served_and_stay_with_it() {
    let web = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = local(&web);
    let mut service = Service::new("");
    let path = service.path("socket");
    let other = UnixListener::bind(&path).expect("a fresh path");
    let conf = |text: &str| {
        let listen = format!("{address}; listen unix:{}", path.display());
        answering(listen, text)
    };
    service.configure(&conf("first"));
    // It comes before the program runs, and waits.
    let mut early = Client::connect(address.port());
    early.send(GET);
    let copy = |listener: &TcpListener| listener.try_clone().expect("a descriptor");
    service.start_with(copy(&web), other.try_clone().expect("a descriptor"));
    assert!(service.told().starts_with("READY=1\n"));
    assert_eq!(early.answer("GET").text(), "first");
    for _ in 0..4 {
        assert_eq!(Client::connect(address.port()).ask(GET).text(), "first");
    }
    std::os::unix::net::UnixStream::connect(&path).expect("served");
    // No program that it starts gets them.
    let flags = fs::read_to_string(format!("/proc/{}/fdinfo/3", service.pid())).expect("open");
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = u32::from_str_radix(flags.expect("Linux shows it").trim(), 8).expect("octal");
    assert_ne!(flags & 0o2_000_000, 0, "close on exec");
    service.configure(&conf("second"));
    service.signal(Signal::SIGHUP);
    assert!(service.told().starts_with("RELOADING=1\n"));
    assert!(service.told().contains("generation 2"));
    assert_eq!(Client::connect(address.port()).ask(GET).text(), "second");
    service.signal(Signal::SIGQUIT);
    assert!(service.told().starts_with("STOPPING=1\n"));
    assert!(service.wait().success());
    // The next one finds what came between the two.
    assert!(path.exists());
    let mut between = Client::connect(address.port());
    between.send(GET);
    service.start_with(copy(&web), other);
    assert!(service.told().starts_with("READY=1\n"));
    assert_eq!(between.answer("GET").text(), "second");
}

#[test]
fn sockets_that_the_manager_keeps_outlive_a_crash_with_the_connections_in_them() {
    let (port, next) = (reserve(), reserve());
    let listen = format!("127.0.0.1:{}", port.number);
    let mut service = Service::new(&answering(&listen, "text"));
    service.start(&[("FDSTORE", "16")]);
    let (kept, mut sockets) = service.given();
    assert_eq!(
        kept,
        format!("FDSTORE=1\nFDNAME=127.0.0.1-{}\nFDPOLL=0", port.number)
    );
    assert_eq!(sockets.len(), 2, "one for each worker");
    assert!(service.told().starts_with("READY=1\n"));
    service.signal(Signal::SIGKILL);
    service.wait();
    let mut waiting: Vec<_> = (0..8)
        .map(|_| {
            let mut client = Client::connect(port.number);
            client.send(GET);
            client
        })
        .collect();
    let (first, second) = (sockets.pop(), sockets.pop());
    service.start_with(first.expect("two came"), second.expect("two came"));
    assert!(service.told().starts_with("READY=1\n"));
    for client in &mut waiting {
        assert_eq!(client.answer("GET").text(), "text");
    }
    // Another address with the next configuration: the manager closes the old one, too.
    drop(
        service
            .child
            .take()
            .map(|mut child| (child.kill(), child.wait())),
    );
    let moved = format!("127.0.0.1:{}", next.number);
    service.start(&[("FDSTORE", "16")]);
    assert_eq!(service.given().1.len(), 2);
    assert!(service.told().starts_with("READY=1\n"));
    service.configure(&answering(&moved, "moved"));
    service.signal(Signal::SIGHUP);
    assert!(service.told().starts_with("RELOADING=1\n"));
    let gone = format!("FDSTOREREMOVE=1\nFDNAME=127.0.0.1-{}", port.number);
    assert_eq!(service.told(), gone);
    assert_eq!(service.given().1.len(), 2);
    assert!(service.told().starts_with("READY=1\n"));
    assert_eq!(Client::connect(next.number).ask(GET).text(), "moved");
}

#[test]
fn a_kept_socket_makes_way_for_an_address_that_it_overlaps() {
    let web = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = local(&web).port();
    let listen = format!("127.0.0.1:{port}");
    let conf = answering(&listen, "text").replace("worker_processes 2", "worker_processes 1");
    let mut service = Service::new(&conf);
    let file = fs::File::open("/dev/null").expect("every system has it");
    service.start_keeping(web.try_clone().expect("a descriptor"), file);
    assert_eq!(
        service.told(),
        format!("FDSTOREREMOVE=1\nFDNAME=0.0.0.0-{port}")
    );
    let (barrier, theirs) = service.given();
    assert_eq!((barrier.as_str(), theirs.len()), ("BARRIER=1", 1));
    // The manager has closed it, and says so by closing this.
    drop(web);
    drop(theirs);
    assert!(service.given().0.starts_with("FDSTORE=1\n"));
    assert!(service.told().starts_with("READY=1\n"));
    assert_eq!(Client::connect(port).ask(GET).text(), "text");
}

#[test]
fn a_socket_that_no_server_wants_and_what_is_no_socket_are_told_of_and_let_go() {
    let port = reserve();
    let listen = format!("127.0.0.1:{}", port.number);
    let mut service = Service::new(&answering(&listen, "text"));
    let unused = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = local(&unused);
    let file = fs::File::create(service.path("file")).expect("a fresh file");
    service.start_with(unused, file);
    assert!(service.told().starts_with("READY=1\n"));
    assert_eq!(Client::connect(port.number).ask(GET).text(), "text");
    let said = service.said();
    let unused = format!("the service manager listens on {address}, for which no server has");
    assert!(said.contains(&unused), "{said}");
    let file = "the service manager's descriptor 4 \"other\" is not a socket, it is not used";
    assert!(said.contains(file), "{said}");
    assert!(Client::try_connect(address.port()).is_err());
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let port = reserve();
    let listen = format!("127.0.0.1:{}", port.number);
    let mut service = Service::new(&answering(&listen, "text"));
    service.start(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "1")]);
    assert!(service.told().starts_with("READY=1\n"));
    assert!(
        !service.said().contains("service manager"),
        "{}",
        service.said()
    );
}
