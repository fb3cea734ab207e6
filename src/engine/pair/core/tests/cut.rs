//! Two servers that are cut off from each other both go on alone, and both grant. That is not
//! tolerated; these things hold even so.

use std::collections::BTreeSet;

use super::sessions::{Session, granted};
use super::world::{PEER_TIMEOUT, World};
use crate::service::Answer;
use crate::types::ServerId::{self, A, B};
use crate::types::Token;

/// Grants the lock `job` at a server again and again.
fn grants(world: &mut World, server: ServerId, times: u64) -> Vec<Token> {
    let mut session = Session::open(world, server, 1);
    let tokens = (0..times).map(|turn| {
        let token = granted(world.answer(server, session.acquire("job")));
        let release = session.release(2 * turn);
        assert_eq!(world.answer(server, release), Ok(Answer::Call(true)));
        token
    });
    tokens.collect()
}

/// All tokens that were given, each once.
#[derive(Default)]
struct Given(BTreeSet<Token>);

impl Given {
    fn add(&mut self, tokens: &[Token]) {
        assert!(tokens.is_sorted(), "{tokens:?}");
        for token in tokens {
            assert!(self.0.insert(*token), "{token} was given before");
        }
    }

    /// Adds tokens that must be above all before.
    fn add_above(&mut self, tokens: &[Token]) {
        assert!(
            self.0.last() < tokens.first(),
            "{:?} is not above {:?}",
            tokens.first(),
            self.0.last()
        );
        self.add(tokens);
    }
}

/// The backup takes over from `primary`, which then joins again.
fn fail_over(world: &mut World, primary: ServerId) {
    world.halt(primary);
    world.run(PEER_TIMEOUT);
    world.start(primary);
    world.run(PEER_TIMEOUT * 10);
    world.assert_whole(primary.peer());
}

#[test]
fn two_servers_that_are_cut_off_from_each_other_never_give_one_token() {
    let mut world = World::new().whole();
    let mut given = Given::default();
    for (times_each, fails_over) in [([9, 2], true), ([9, 2], false), ([2, 9], true)] {
        given.add_above(&grants(&mut world, A, 1));
        world.cut();
        for (server, times) in ServerId::BOTH.into_iter().zip(times_each) {
            given.add(&grants(&mut world, server, times));
        }
        world.heal();
        world.assert_whole(B);
        given.add_above(&grants(&mut world, A, 1));
        if fails_over {
            fail_over(&mut world, B);
            given.add_above(&grants(&mut world, B, 1));
        }
    }
}

#[test]
fn a_server_that_was_restarted_gives_no_token_that_it_gave_before() {
    let mut world = World::new().whole();
    let mut given = Given::default();
    world.cut();
    for (server, times) in [(A, 9), (B, 2)] {
        given.add(&grants(&mut world, server, times));
    }
    world.halt(A);
    world.heal();
    world.start(A);
    world.run(PEER_TIMEOUT * 10);
    world.assert_whole(B);
    fail_over(&mut world, B);
    given.add_above(&grants(&mut world, A, 1));
}
