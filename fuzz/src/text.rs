//! What people and configurations write: names of locks, addresses of servers.

use lockservice::types::LockName;
use lockservice::{Addr, Servers};

/// A name is accepted if and only if it has 1 to 1,024 bytes of UTF-8, however it arrives.
pub fn names(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let good = (1..=LockName::MAX_BYTES).contains(&text.len());
        let name = LockName::new(text);
        assert_eq!(name.is_ok(), good, "{text:?}");
        if let Ok(name) = name {
            assert_eq!(name.as_str(), text);
            let wire = postcard::to_stdvec(&name).expect("it encodes");
            assert_eq!(postcard::from_bytes::<LockName>(&wire).as_ref(), Ok(&name));
        }
    }
    if let Ok((name, rest)) = postcard::take_from_bytes::<LockName>(data) {
        assert!((1..=LockName::MAX_BYTES).contains(&name.as_str().len()));
        let length = data.len() - rest.len();
        assert!(length > name.as_str().len());
    }
}

/// What is read as an address, or as a pair, is written in a form that reads as the same.
pub fn addresses(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(addr) = text.parse::<Addr>() {
        assert_eq!(addr.to_string().parse::<Addr>().as_ref(), Ok(&addr));
    }
    if let Ok(servers) = text.parse::<Servers>() {
        let again = servers.to_string().parse::<Servers>();
        assert_eq!(again.as_ref(), Ok(&servers));
        assert_eq!(again.expect("a pair").pair_id(), servers.pair_id());
    }
}
