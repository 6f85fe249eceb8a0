//! Memory that was freed, given back to the system.

/// Gives pages that hold nothing any more back to the system.
///
/// The allocator of glibc keeps what was freed below the last block in use: after a burst of ten
/// thousand connections some 50 MiB of nothing. Walks its free lists, which takes milliseconds after
/// such a burst: not for every request. Does nothing where the allocator has no such call.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "no safe wrapper calls malloc_trim")]
        // SAFETY: it takes a number, may be called by any thread at any time, and touches only
        // memory that nobody holds.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_in_use_stays_as_it_is() {
        let kept: Vec<Vec<u8>> = (0..1000).map(|number| vec![number as u8; 5000]).collect();
        drop(kept.iter().step_by(2).cloned().collect::<Vec<_>>());
        super::give_back();
        let is_same =
            |(number, bytes): (usize, &Vec<u8>)| bytes.iter().all(|&byte| byte == number as u8);
        assert!(kept.iter().enumerate().all(is_same));
    }
}
