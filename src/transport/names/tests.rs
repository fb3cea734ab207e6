use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::*;

/// Answers look-ups with what a test has put there, in that order; hangs when there is nothing.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<VecDeque<Result<Vec<SocketAddr>, &'static str>>>,
    begun: AtomicUsize,
    told: Notify,
}

#[derive(Debug, Clone, Default)]
struct Script(Arc<Scripted>);

impl Script {
    fn tell(&self, answer: Result<Vec<SocketAddr>, &'static str>) {
        let mut answers = self.0.answers.lock().expect("no test panics with it");
        answers.push_back(answer);
        self.0.told.notify_one();
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    fn name(&self) -> Arc<Name> {
        Names::new(Arc::new(self.clone())).name("a.test", 5100)
    }
}

impl Resolve for Script {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        async {
            loop {
                let answer = self.0.answers.lock().expect("as above").pop_front();
                match answer {
                    Some(answer) => return answer.map_err(io::Error::other),
                    None => self.0.told.notified().await,
                }
            }
        }
        .boxed()
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn v4(last: u8) -> SocketAddr {
    ([192, 0, 2, last], 5100).into()
}

async fn known_name(script: &Script, known: &[SocketAddr]) -> Arc<Name> {
    script.tell(Ok(known.to_vec()));
    let name = script.name();
    name.look_up().await.expect("it was told");
    name
}

#[tokio::test]
async fn a_look_up_that_fails_leaves_what_is_known() {
    let script = Script::default();
    let name = known_name(&script, &[v4(1)]).await;
    for _ in 0..2 {
        script.tell(Err("no such host"));
        let error = name.look_up().await.expect_err("it was told to fail");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(
            error.to_string().contains("`a.test:5100`: no such host"),
            "{error}"
        );
        assert_eq!(name.known(), [v4(1)]);
    }
    script.tell(Ok(vec![]));
    name.look_up().await.expect_err("it stands for nothing");
    assert_eq!(name.known(), [v4(1)]);
    script.tell(Ok(vec![v4(2)]));
    name.look_up().await.expect("it was told");
    assert_eq!(name.known(), [v4(2)]);
}

#[tokio::test]
async fn a_look_up_goes_on_when_whoever_began_it_has_gone() {
    let script = Script::default();
    let name = script.name();
    for _ in 0..3 {
        assert!(name.look_up().now_or_never().is_none(), "it hangs");
        tokio::task::yield_now().await;
    }
    assert_eq!(script.begun(), 1, "one look-up at a time");
    let waits = name.look_up();
    script.tell(Ok(vec![v4(1)]));
    assert_eq!(waits.await.expect("it was told"), [v4(1)]);
    assert_eq!(script.begun(), 1);
    assert!(name.is_known());
}

#[test]
fn a_look_up_that_went_with_its_runtime_is_begun_again() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
    };
    let script = Script::default();
    let name = script.name();
    runtime().block_on(async {
        assert!(name.look_up().now_or_never().is_none(), "it hangs");
        tokio::task::yield_now().await;
    });
    script.tell(Ok(vec![v4(1)]));
    let found = runtime().block_on(async { name.look_up().await });
    assert_eq!(found.expect("it was told"), [v4(1)]);
    assert_eq!(script.begun(), 2);
}

#[tokio::test]
async fn several_dials_begin_with_different_addresses_until_one_answers() {
    let script = Script::default();
    let name = known_name(&script, &[v4(1), v4(2), v4(3)]).await;
    assert_eq!(name.known(), [v4(1), v4(2), v4(3)]);
    assert_eq!(name.known(), [v4(2), v4(3), v4(1)]);
    name.prefer(v4(2));
    assert_eq!(name.known()[0], v4(2));
    name.prefer(v4(2));
    // What answered stays first when the name is looked up again.
    script.tell(Ok(vec![v4(4), v4(3), v4(2)]));
    name.look_up().await.expect("it was told");
    assert_eq!(name.known()[0], v4(2));
    name.prefer(v4(9));
    assert!(!name.known().contains(&v4(9)));
}

#[tokio::test]
async fn names_are_remembered_up_to_a_limit() {
    let names = Names::new(Arc::new(Script::default()));
    let first = names.name("a.test", 1);
    assert!(Arc::ptr_eq(&first, &names.name("a.test", 1)));
    assert!(!Arc::ptr_eq(&first, &names.name("a.test", 2)));
    for port in 2..=u16::try_from(MAX_NAMES).expect("a few") + 1 {
        names.name("a.test", port);
    }
    assert!(!Arc::ptr_eq(&first, &names.name("a.test", 1)), "forgotten");
    assert_eq!(names.names.lock().expect("no panic").len(), MAX_NAMES);
}

#[test]
fn the_two_families_take_turns_and_no_address_comes_twice() {
    let [six, seven] = ["[2001:db8::6]:1", "[2001:db8::7]:1"].map(addr);
    let [one, two, three] = [1, 2, 3].map(v4);
    let found = vec![six, seven, one, one, two, three];
    assert_eq!(addresses(Ok(found)), Ok(vec![six, one, seven, two, three]));
    assert_eq!(addresses(Ok(vec![one, two, six])), Ok(vec![one, six, two]));
    let many = (0..200).map(v4).collect();
    assert_eq!(
        addresses(Ok(many)).map(|addrs| addrs.len()),
        Ok(MAX_ADDRESSES)
    );
}

#[tokio::test]
async fn an_address_to_bind_is_looked_up_anew() {
    let script = Script::default();
    let names = Names::new(Arc::new(script.clone()));
    script.tell(Ok(vec![v4(1)]));
    assert_eq!(
        names.resolve("a.test", 1).await.expect("it was told"),
        [v4(1)]
    );
    script.tell(Err("no such host"));
    names
        .resolve("a.test", 1)
        .await
        .expect_err("nothing is remembered");
}
