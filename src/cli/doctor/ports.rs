//! Who listens on which port, as the kernel tells it, and who may.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Ports below this number need a right, unless the system says otherwise.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// The bit of CAP_NET_BIND_SERVICE in a set of capabilities (linux/capability.h).
const NET_BIND_SERVICE: u32 = 10;

/// A listening socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    /// Whose it is.
    pub uid: u32,
    /// Names it among the open files of processes.
    pub inode: u64,
}

/// A process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// Its short name.
    pub name: String,
}

/// The listening sockets in the text of `/proc/net/tcp` or `/proc/net/tcp6`.
pub fn listening(table: &str) -> Vec<Listening> {
    /// TCP_LISTEN
    const LISTEN: &str = "0A";
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if *fields.get(3)? != LISTEN {
            return None;
        }
        Some(Listening {
            address: address(fields.get(1)?)?,
            uid: fields.get(7)?.parse().ok()?,
            inode: fields.get(9)?.parse().ok()?,
        })
    };
    table.lines().filter_map(read).collect()
}

/// `0100007F:0050`: words of the machine's byte order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let text = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(text, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// The owners of sockets by their inodes, as far as this user may see them. Process 1 holds sockets
/// for services, over their restarts or until they start; the service is the one that counts.
pub fn owners(proc: &Path) -> HashMap<u64, Owner> {
    let mut owners = HashMap::new();
    let Ok(processes) = fs::read_dir(proc) else {
        return owners;
    };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for file in files.flatten() {
            let Ok(target) = fs::read_link(file.path()) else {
                continue;
            };
            if let Some(inode) = target.to_str().and_then(socket_inode) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                let name = name.trim_end().to_owned();
                let owner = Owner { pid, name };
                owners
                    .entry(inode)
                    .and_modify(|known: &mut Owner| {
                        if known.pid == 1 {
                            known.clone_from(&owner);
                        }
                    })
                    .or_insert(owner);
            }
        }
    }
    owners
}

/// `socket:[1588]`
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// May a process with this text of `/proc/PID/status` listen on every port?
pub fn has_bind_right(status: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    set.is_some_and(|set| set >> NET_BIND_SERVICE & 1 == 1)
}

/// The first port that needs no right, from the text of `ip_unprivileged_port_start`.
pub fn first_unprivileged(text: Option<&str>) -> u16 {
    text.and_then(|text| text.trim().parse().ok())
        .unwrap_or(FIRST_UNPRIVILEGED)
}

/// What stops a web server that is in the way.
pub fn way_to_stop(owner: &Owner, port: u16) -> String {
    match owner.name.as_str() {
        "nginx" | "apache2" | "httpd" | "caddy" | "haproxy" | "lighttpd" | "traefik"
        | "varnishd" => {
            let service = match owner.name.as_str() {
                "varnishd" => "varnish",
                name => name,
            };
            format!("sudo systemctl disable --now {service}")
        }
        "docker-proxy" => format!("docker ps --filter publish={port}"),
        "systemd" => format!("systemctl list-sockets | grep {port}"),
        _ => format!("ps -o pid,user,args -p {}", owner.pid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1588 1 000000006ed15d56 100 0 0 10 0                      
   1: 0100007F:472B 0100007F:ED9C 06 00000000:00000000 03:0000021A 00000000     0        0 0 3 000000003530db93                                      
   2: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000   113        0 20331 1 0000000000000000 100 0 0 10 0
   x: torn
";

    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 20115 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 19022 1 0000000000000000 100 0 0 10 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_sockets_are_read_as_the_kernel_writes_them() {
        let found: Vec<_> = listening(TCP)
            .into_iter()
            .chain(listening(TCP6))
            .map(|it| (it.address.to_string(), it.uid, it.inode))
            .collect();
        let expected = [
            ("0.0.0.0:80", 0, 1588),
            ("127.0.0.1:3306", 113, 20331),
            ("[::]:443", 33, 20115),
            ("[::1]:631", 0, 19022),
        ];
        let expected = expected.map(|(address, uid, inode)| (address.to_owned(), uid, inode));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_owner_of_our_own_socket_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
        let ours = listening(&table)
            .into_iter()
            .find(|it| it.address.port() == port)
            .expect("it listens");
        let owner = &owners(Path::new("/proc"))[&ours.inode];
        assert_eq!(owner.pid, std::process::id());
    }

    #[test]
    fn a_service_owns_what_the_manager_holds_for_it() {
        let proc = tempfile::tempdir().expect("a directory");
        for (pid, name) in [("1", "systemd"), ("20", "openclaw"), ("3", "nginx")] {
            let files = proc.path().join(pid).join("fd");
            fs::create_dir_all(&files).expect("a fresh directory");
            fs::write(proc.path().join(pid).join("comm"), name).expect("a fresh file");
            let inode = if pid == "3" { 8 } else { 7 };
            std::os::unix::fs::symlink(format!("socket:[{inode}]"), files.join("5")).expect("ours");
        }
        let owners = owners(proc.path());
        assert_eq!((owners[&7].pid, owners[&8].pid), (20, 3));
    }

    #[test]
    fn the_right_to_low_ports_is_a_bit() {
        assert!(has_bind_right("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(has_bind_right("CapEff:\t0000000000000400\n"));
        assert!(!has_bind_right("CapEff:\t0000000000000000\n"));
        assert!(!has_bind_right(""));
        assert_eq!(first_unprivileged(Some("80\n")), 80);
        assert_eq!(first_unprivileged(None), 1024);
    }

    #[test]
    fn a_web_server_in_the_way_is_stopped_by_its_service() {
        let owner = |name: &str| Owner {
            pid: 7,
            name: name.to_owned(),
        };
        assert_eq!(
            way_to_stop(&owner("nginx"), 80),
            "sudo systemctl disable --now nginx"
        );
        assert_eq!(
            way_to_stop(&owner("python3"), 80),
            "ps -o pid,user,args -p 7"
        );
    }
}
