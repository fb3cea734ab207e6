//! A clerk of three servers: of whichever engine, a list is gone round.

use std::iter::zip;

use super::*;
use crate::config::LEASE;

/// Three fake servers, of which some listen.
struct Three {
    network: MemoryNetwork,
    servers: Servers,
    fakes: Vec<Fake>,
}

impl Three {
    /// `listening`: the places of those that do.
    async fn start(listening: &[usize]) -> Self {
        let network = MemoryNetwork::new();
        let servers = Servers::of(["memory:a", "memory:b", "memory:c"]).expect("a list");
        let fakes: Vec<_> = servers.ids().map(Fake::new).collect();
        for place in listening {
            let addr = &servers.addresses()[*place];
            drop(fakes[*place].listen(&network, addr).await);
        }
        Self {
            network,
            servers,
            fakes,
        }
    }

    fn builder(&self) -> ClerkBuilder {
        Clerk::builder(self.servers.clone()).network(Arc::new(self.network.clone()))
    }

    async fn clerk(&self) -> Clerk {
        self.builder().connect().await.expect("somebody answers")
    }

    /// How many calls each was asked for.
    fn calls(&self) -> Vec<usize> {
        self.fakes.iter().map(|fake| fake.calls().len()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_alone_in_the_list_to_answer_is_found_at_once_and_kept() {
    for place in 0..3 {
        let three = Three::start(&[place]).await;
        let (clerk, elapsed) = timed(three.clerk()).await;
        assert!(is_about(elapsed, Duration::ZERO), "{place}: {elapsed:?}");
        for _ in 0..2 {
            let (done, elapsed) = timed(clerk.lock("x")).await;
            assert!(done.expect("answered") && is_about(elapsed, Duration::ZERO));
        }
        assert_eq!(three.calls()[place], 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_round_the_list_from_the_server_that_answered_last() {
    let three = Three::start(&[0, 1, 2]).await;
    let clerk = three.clerk().await;
    let not_ready = Reply::No(Refusal::NotReady);
    three.fakes[0].on_every_call(not_ready);
    assert!(clerk.lock("x").await.expect("answered"));
    assert_eq!(three.calls(), [1, 1, 0]);
    three.fakes[1].on_every_call(not_ready);
    assert!(clerk.lock("x").await.expect("answered"));
    assert_eq!(three.calls(), [1, 2, 1]);
    let ids: Vec<_> = three.fakes.iter().map(Fake::calls).collect();
    assert_eq!(ids[1].last(), ids[2].last(), "one call has one id");
    // After the last one comes the first.
    three.fakes[0].on_every_call(Reply::Yes);
    three.fakes[2].on_calls([not_ready]);
    assert!(clerk.lock("x").await.expect("answered"));
    assert_eq!(three.calls(), [2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn each_silent_server_costs_its_patience_and_is_not_abandoned() {
    let three = Three::start(&[0, 1, 2]).await;
    let clerk = three.clerk().await;
    three.fakes[0].on_every_call(Reply::Late(PATIENCE * 5));
    three.fakes[1].on_every_call(Reply::Never);
    let (done, elapsed) = timed(clerk.lock("x")).await;
    assert!(done.expect("answered"));
    assert!(is_about(elapsed, PATIENCE * 2), "{elapsed:?}");
    assert_eq!(three.calls(), [1, 1, 1]);
    three.fakes[2].on_every_call(Reply::Never);
    let (done, elapsed) = timed(clerk.lock("x")).await;
    assert!(done.expect("answered"));
    assert!(is_about(elapsed, PATIENCE * 6), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_names_every_server_with_what_came_of_it() {
    let three = Three::start(&[0]).await;
    let clerk = three.builder().timeout(TIMEOUT).connect().await;
    let clerk = clerk.expect("one answers");
    three.fakes[0].on_every_call(Reply::No(Refusal::NotReady));
    let error = clerk.lock("x").await.expect_err("nobody answers");
    assert!(!error.may_have_happened());
    let text = error.to_string();
    let CallError::Unanswered { tried, .. } = error else {
        panic!("{error}");
    };
    let places = zip(three.servers.ids(), three.servers.addresses());
    assert_eq!(tried.servers().len(), 3);
    for (attempts, (server, addr)) in zip(tried.servers(), places) {
        assert_eq!((attempts.server, &attempts.address), (server, addr));
        assert!(attempts.attempts > 1, "{attempts}");
        assert!(text.contains(&attempts.to_string()), "{text}");
    }
    assert!(text.contains("memory:c: nobody listens there"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn all_servers_are_asked_for_their_status_each_by_name() {
    let three = Three::start(&[0, 2]).await;
    let clerk = three.clerk().await;
    let network: Arc<dyn Network> = Arc::new(three.network.clone());
    let without_a_clerk = status(&network, &three.servers, TIMEOUT).await;
    for reports in [without_a_clerk, clerk.status().await] {
        let answered: Vec<_> = reports.iter().map(|it| it.status.is_ok()).collect();
        assert_eq!(answered, [true, false, true]);
        for (report, server) in zip(&reports, three.servers.ids()) {
            assert_eq!(report.server, server);
            assert_eq!(report.address, *three.servers.address(server));
            let said = report.status.as_ref().map(|status| status.server);
            assert!(said.is_err() || said == Ok(server));
        }
        assert!(!is_whole(&reports));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_lives_on_at_the_third_server_when_two_are_lost() {
    let three = Three::start(&[2]).await;
    let clerk = three.clerk().await;
    let guard = clerk.acquire("x").await.expect("granted");
    assert_eq!(guard.session(), SessionId(101));
    sleep(LEASE * 3).await;
    assert_eq!(
        guard.state(),
        GuardState::Held,
        "the third one renews the lease"
    );
    guard.release().await.expect("answered");
}
