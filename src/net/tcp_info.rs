//! What the kernel knows about a TCP connection (`$tcpinfo_*`).

/// The kernel's record of a connected TCP socket; `None` where there is none (a Unix socket).
pub fn of(descriptor: i32) -> Option<libc::tcp_info> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    #[expect(unsafe_code, reason = "no safe wrapper reads TCP_INFO")]
    // SAFETY: the buffer is as long as `length` says and was zeroed, which is a valid value of a
    // structure of integers; a descriptor that is not a TCP socket makes the call fail.
    unsafe {
        let failed = libc::getsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        );
        (failed == 0).then(|| info.assume_init())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    #[test]
    fn a_connected_socket_has_a_round_trip_time_and_a_closed_one_has_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(address).expect("connects");
        let info = super::of(client.as_raw_fd()).expect("connected");
        assert!(info.tcpi_snd_cwnd > 0);
        assert!(super::of(-1).is_none());
    }
}
