//! Files of passwords: any bytes are read, a user who is put in is found as written, one who is taken
//! out is gone, and all others stay as they are. Every kept text is understood or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::access::passwords::file::{PasswordFile, is_user, with_user, without_user};
use openclaw::access::passwords::hash::Stored;

fuzz_target!(|input: (&[u8], &str)| {
    let (text, user) = input;
    let file = PasswordFile::parse(text);
    for name in file.users() {
        let kept = file.kept(name).expect("it is listed");
        // Comparing may be costly; being understood is not.
        let _ = Stored::parse(kept).map(|stored| stored.cost());
    }
    if !is_user(user) {
        return;
    }
    let changed = with_user(text, user, "{PLAIN}kept");
    let with = PasswordFile::parse(&changed);
    assert_eq!(with.kept(user.as_bytes()).map(|kept| &**kept), Some(&b"{PLAIN}kept"[..]));
    let removed = without_user(&changed, user).expect("it is there");
    let without = PasswordFile::parse(&removed);
    assert!(without.kept(user.as_bytes()).is_none());
    for name in file.users().filter(|name| *name != user.as_bytes()) {
        assert_eq!(file.kept(name), with.kept(name));
        assert_eq!(file.kept(name), without.kept(name));
    }
});
