use std::time::Duration;

use futures::future::{BoxFuture, pending, ready};
use tokio::time::timeout;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn addr(last: u8) -> SocketAddr {
    ([192, 0, 2, last], 5100).into()
}

fn failed(errno: Errno) -> BoxFuture<'static, io::Result<u8>> {
    ready(Err(errno.into())).boxed()
}

fn refused() -> BoxFuture<'static, io::Result<u8>> {
    failed(Errno::CONNREFUSED)
}

fn answers(last: u8) -> BoxFuture<'static, io::Result<u8>> {
    ready(Ok(last)).boxed()
}

fn last(addr: SocketAddr) -> u8 {
    match addr {
        SocketAddr::V4(addr) => addr.ip().octets()[3],
        SocketAddr::V6(_) => unreachable!("they are all of version 4"),
    }
}

type Found = std::future::Ready<io::Result<Vec<SocketAddr>>>;

/// The look-up gives these addresses.
fn found<const N: usize>(lasts: [u8; N]) -> Found {
    std::future::ready(Ok(lasts.map(addr).to_vec()))
}

fn no_such_name() -> Found {
    let kind = io::ErrorKind::AddrNotAvailable;
    std::future::ready(Err(io::Error::new(kind, "no such name")))
}

/// Dials the known addresses with these last numbers; returns who answered, and after how long.
async fn dialled<const N: usize>(
    known: [u8; N],
    look_up: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    dial: impl Fn(u8) -> BoxFuture<'static, io::Result<u8>>,
) -> (io::Result<u8>, Duration) {
    let start = Instant::now();
    let known = known.map(addr).to_vec();
    let racing = race(known, look_up, |addr| dial(last(addr)));
    let outcome = timeout(MINUTE, racing).await.expect("it ends");
    (outcome.map(|(_, who)| who), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_next_address_is_dialled_after_a_moment_while_the_first_goes_on() {
    let silent_first = |last| {
        if last == 1 {
            pending().boxed()
        } else {
            answers(last)
        }
    };
    let (who, after) = dialled([1, 2], found([1, 2]), silent_first).await;
    assert_eq!(
        (who.expect("it answers"), after),
        (2, CONNECTION_ATTEMPT_DELAY)
    );

    let slow_first = |last| match last {
        1 => async {
            tokio::time::sleep(CONNECTION_ATTEMPT_DELAY * 3 / 2).await;
            Ok(1)
        }
        .boxed(),
        _ => pending().boxed(),
    };
    let (who, after) = dialled([1, 2], found([1, 2]), slow_first).await;
    assert_eq!(
        (who.expect("it answers"), after),
        (1, CONNECTION_ATTEMPT_DELAY * 3 / 2)
    );
}

#[tokio::test(start_paused = true)]
async fn the_next_address_is_dialled_at_once_when_one_fails() {
    for error in [Errno::CONNREFUSED, Errno::NETUNREACH, Errno::ACCESS] {
        let dial = |last| {
            if last < 3 {
                failed(error)
            } else {
                answers(last)
            }
        };
        let (who, after) = dialled([1, 2, 3], pending(), dial).await;
        assert_eq!(
            (who.expect("it answers"), after),
            (3, Duration::ZERO),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn known_addresses_are_dialled_while_the_resolver_hangs() {
    let (who, after) = dialled([1], pending(), answers).await;
    assert_eq!((who.expect("it answers"), after), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_new_is_dialled_beside_the_old_ones() {
    let moved = |last| {
        if last == 1 {
            pending().boxed()
        } else {
            answers(last)
        }
    };
    let (who, after) = dialled([1], found([2]), moved).await;
    assert_eq!(
        (who.expect("it answers"), after),
        (2, CONNECTION_ATTEMPT_DELAY)
    );
    let (who, _) = dialled([], found([2]), moved).await;
    assert_eq!(who.expect("it answers"), 2);
    let refused_there = |last| if last == 1 { refused() } else { answers(last) };
    let (who, after) = dialled([1], found([2]), refused_there).await;
    assert_eq!((who.expect("it answers"), after), (2, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn refused_is_what_every_address_says_that_is_confirmed() {
    let (error, after) = dialled([1, 2], found([1, 2]), |_| refused()).await;
    let error = error.expect_err("refused");
    assert_eq!(
        (error.kind(), after),
        (io::ErrorKind::ConnectionRefused, Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_at_an_address_that_may_be_old_is_silence() {
    let (error, after) = dialled([1], no_such_name(), |_| refused()).await;
    let error = error.expect_err("it does not answer");
    assert_eq!(
        (error.kind(), after),
        (io::ErrorKind::HostUnreachable, Duration::ZERO)
    );
    assert!(error.to_string().contains("no such name"), "{error}");
    assert!(!was_not_asked(&error), "{error}");

    let (error, after) = dialled([1], pending(), |_| refused()).await;
    let error = error.expect_err("it does not answer");
    let kind = io::ErrorKind::HostUnreachable;
    assert_eq!((error.kind(), after), (kind, CONNECTION_ATTEMPT_DELAY));
    assert!(!was_not_asked(&error), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_address_among_those_that_refuse_is_silence() {
    let one_silent = |last| {
        if last == 1 {
            refused()
        } else {
            pending().boxed()
        }
    };
    let racing = race(vec![addr(1), addr(2)], found([1, 2]), |addr| {
        one_silent(last(addr))
    });
    assert!(timeout(MINUTE, racing).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_an_address_nothing_was_asked() {
    let (error, _) = dialled([], no_such_name(), |_| refused()).await;
    let error = error.expect_err("there is no address");
    assert!(was_not_asked(&error), "{error}");
    let racing = race(vec![], pending(), |_| refused());
    assert!(timeout(MINUTE, racing).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_address_that_this_machine_cannot_dial_does_not_hide_that_another_one_refuses() {
    let no_v6 = |last| {
        if last == 1 {
            refused()
        } else {
            failed(Errno::ADDRNOTAVAIL)
        }
    };
    let (error, _) = dialled([1, 2], found([1, 2]), no_v6).await;
    let error = error.expect_err("it is refused");
    assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
    assert!(!was_not_asked(&error), "{error}");

    let (error, _) = dialled([1], found([1]), |_| failed(Errno::ADDRNOTAVAIL)).await;
    let error = error.expect_err("there is no such family here");
    assert!(was_not_asked(&error), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_lack_of_descriptors_says_nothing_of_the_host() {
    for own in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
        let dial = |last| if last == 1 { failed(own) } else { refused() };
        let (error, _) = dialled([1, 2], found([1, 2]), dial).await;
        let error = error.expect_err("not all were asked");
        assert!(was_not_asked(&error), "{own}: {error}");
    }
}

#[test]
fn what_the_way_to_a_host_answers_is_silence_of_the_host() {
    for errno in [
        Errno::ACCESS,
        Errno::PERM,
        Errno::INVAL,
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
        Errno::TIMEDOUT,
    ] {
        let error = io::Error::from(errno);
        assert_eq!(Failure::of(&error), Failure::Silent, "{error}");
    }
}
