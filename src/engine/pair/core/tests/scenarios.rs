//! What the pair promises, in the failures that it promises it for.

use std::time::Duration;

use super::world::{Envelope, Message, PEER_TIMEOUT, World};
use super::{A, B};
use crate::config::Limits;
use crate::engine::leader::LeaderEvent;
use crate::engine::pair::core::{Event, FailureCause, Input, Now};
use crate::engine::pair::protocol::{Frame, FrameAnswer};
use crate::service::{Answer, Refusal, Request, Resource, RoleName};
use crate::types::View;

#[test]
fn two_starting_servers_form_a_pair_with_the_first_listed_as_primary() {
    for order in [[A, B], [B, A]] {
        let mut world = World::new();
        for server in order {
            world.start(server);
            world.run(PEER_TIMEOUT * 3);
        }
        world.assert_whole(A);
        assert_eq!(world.view(A), Some(View::first(A)));
    }
}

#[test]
fn a_server_answers_nobody_before_it_has_met_its_peer() {
    let mut world = World::new();
    world.start(A);
    world.run(PEER_TIMEOUT * 10);
    let client = crate::types::ClientId::from_u128(1);
    assert_eq!(
        world.answer(
            A,
            Request::OpenSession {
                client,
                terms: None
            }
        ),
        Err(Refusal::NotReady)
    );
}

#[test]
fn a_server_that_may_be_alone_forms_a_pair_of_one_when_nobody_listens() {
    let mut world = World::new();
    world.start_with(B, true);
    world.run(PEER_TIMEOUT);
    assert_eq!(world.role(B), RoleName::Standalone);
    let mut client = world.open_session(B, 1);
    assert_eq!(world.answer(B, client.lock("x")), Ok(Answer::Call(true)));
    world.start(A);
    world.run(PEER_TIMEOUT * 3);
    world.assert_whole(B);
    assert!(world.is_held(A, "x"));
}

#[test]
fn a_server_that_may_be_alone_yields_to_a_peer_that_answers() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    assert_eq!(world.answer(A, client.lock("x")), Ok(Answer::Call(true)));
    world.halt(B);
    world.start_with(B, true);
    world.run(PEER_TIMEOUT * 3);
    world.assert_whole(A);
    assert!(world.is_held(B, "x"));
}

#[test]
fn an_answer_waits_for_the_backup() {
    let mut world = World::new().whole();
    let client = crate::types::ClientId::from_u128(1);
    let token = world.ask(
        A,
        Request::OpenSession {
            client,
            terms: None,
        },
    );
    let acks = |envelope: &Envelope| {
        matches!(
            envelope.message,
            Message::FrameAnswer {
                answer: FrameAnswer::Ack { .. },
                ..
            }
        )
    };
    world.run_to_rest_but(acks);
    assert_eq!(world.reply_to(token), None);
    world.run_to_rest();
    let answer = world.reply_to(token);
    assert!(matches!(answer, Some(Ok(Answer::Opened(_)))), "{answer:?}");
    world.assert_whole(A);
}

#[test]
fn calls_that_queue_up_share_one_forward() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let tokens: Vec<_> = (0..50)
        .map(|n| world.ask(A, client.lock(&format!("lock {n}"))))
        .collect();
    let forwards = world
        .wire
        .iter()
        .filter(|envelope| matches!(envelope.message, Message::Frame { .. }))
        .count();
    assert_eq!(forwards, 1, "the first leaves at once, the rest queue up");
    world.run_to_rest();
    for token in tokens {
        assert_eq!(world.reply_to(token), Some(Ok(Answer::Call(true))));
    }
    world.assert_whole(A);
}

#[test]
fn a_backup_relays_to_its_primary() {
    let mut world = World::new().whole();
    let mut client = world.open_session(B, 1);
    assert_eq!(world.answer(B, client.lock("x")), Ok(Answer::Call(true)));
    assert_eq!(world.answer(A, client.lock("x")), Ok(Answer::Call(false)));
    assert_eq!(world.view(A), Some(View::first(A)), "no failover");
}

#[test]
fn the_backup_takes_over_from_a_halted_primary_and_answers_the_retry_from_its_record() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let call = client.lock("x");
    world.ask(A, call.clone());
    world.run_to_rest_but(|envelope| matches!(envelope.message, Message::FrameAnswer { .. }));
    world.halt(A);
    world.run(PEER_TIMEOUT / 100);
    assert_eq!(world.role(B), RoleName::Standalone);
    let took_over = |event: &&Event| {
        matches!(
            event,
            Event::TookOver {
                cause: FailureCause::Refused,
                ..
            }
        )
    };
    assert!(world.events(B).iter().any(|event| took_over(&event)));
    assert_eq!(world.answer(B, call), Ok(Answer::Call(true)), "once");
    assert_eq!(world.answer(B, client.lock("x")), Ok(Answer::Call(false)));
}

#[test]
fn a_call_that_the_backup_had_relayed_is_answered_when_it_takes_over() {
    let mut world = World::new().whole();
    let mut client = world.open_session(B, 1);
    world.stop(A);
    let token = world.ask(B, client.lock("x"));
    world.run(PEER_TIMEOUT / 2);
    assert_eq!(world.reply_to(token), None);
    world.run(PEER_TIMEOUT);
    assert_eq!(world.reply_to(token), Some(Ok(Answer::Call(true))));
}

#[test]
fn a_hang_is_found_in_little_more_than_one_peer_timeout() {
    for (hung, survivor) in [(A, B), (B, A)] {
        let mut world = World::new().whole();
        world.stop(hung);
        world.run(PEER_TIMEOUT * 120 / 100);
        assert_eq!(world.role(survivor), RoleName::Standalone, "{hung} hangs");
    }
}

#[test]
fn a_primary_whose_backup_halts_goes_on_alone() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.halt(B);
    let token = world.ask(A, client.lock("x"));
    world.run(PEER_TIMEOUT / 100);
    assert_eq!(world.reply_to(token), Some(Ok(Answer::Call(true))));
    assert_eq!(world.role(A), RoleName::Standalone);
}

#[test]
fn a_restarted_server_joins_with_the_state_while_clients_go_on() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    for n in 0..2_000 {
        world.ask(
            A,
            client.lock(&format!("a lock with a longer name, number {n}")),
        );
    }
    world.run_to_rest();
    for server in [A, B] {
        world.halt(server);
        world.run(PEER_TIMEOUT / 100);
        world.start(server);
        for n in 0..200 {
            let call = client.lock(&format!("{server} {n}"));
            assert_eq!(world.answer(server.peer(), call), Ok(Answer::Call(true)));
        }
        world.run(PEER_TIMEOUT * 3);
        world.assert_whole(server.peer());
        assert!(world.is_held(server, &format!("{server} 199")));
    }
}

#[test]
fn a_reset_link_is_resumed_without_failover() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    for n in 0..20 {
        let token = world.ask(A, client.lock(&format!("{n}")));
        world.reset();
        world.run_to_rest();
        assert_eq!(world.reply_to(token), Some(Ok(Answer::Call(true))));
    }
    world.run(PEER_TIMEOUT);
    world.assert_whole(A);
    assert_eq!(world.view(A), Some(View::first(A)));
}

#[test]
fn a_stopped_primary_finds_out_and_hands_its_waiting_calls_to_the_new_one() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.stop(A);
    world.run(PEER_TIMEOUT * 2);
    assert_eq!(world.role(B), RoleName::Standalone);
    world.wake(A);
    let token = world.ask(A, client.lock("x"));
    world.run(PEER_TIMEOUT * 3);
    assert_eq!(world.reply_to(token), Some(Ok(Answer::Call(true))));
    world.assert_whole(B);
    assert!(world.is_held(A, "x") && world.is_held(B, "x"));
}

#[test]
fn three_failures_in_a_row_lose_nothing_when_the_pair_is_whole_between_them() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    for (n, victim) in [A, B, A].into_iter().enumerate() {
        let call = client.lock(&format!("{n}"));
        assert_eq!(world.answer(victim, call), Ok(Answer::Call(true)));
        world.halt(victim);
        world.run(PEER_TIMEOUT / 100);
        world.start(victim);
        world.run(PEER_TIMEOUT * 3);
        world.assert_whole(victim.peer());
    }
    for n in 0..3 {
        assert!(world.is_held(A, &format!("{n}")) && world.is_held(B, &format!("{n}")));
    }
}

#[test]
fn a_new_pair_after_both_halted_is_empty_and_numbers_on_above_the_old_one() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let old = client.record;
    assert_eq!(world.answer(A, client.lock("x")), Ok(Answer::Call(true)));
    world.halt(A);
    world.halt(B);
    world.run(PEER_TIMEOUT);
    world.start(A);
    world.start(B);
    world.run(PEER_TIMEOUT * 3);
    world.assert_whole(A);
    assert!(!world.is_held(A, "x"));
    assert_eq!(
        world.answer(A, client.lock("x")),
        Err(Refusal::UnknownSession)
    );
    assert!(world.open_session(A, 2).record > old);
}

#[test]
fn a_backup_that_has_diverged_drops_its_state_and_is_synced() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    assert_eq!(world.answer(A, client.lock("x")), Ok(Answer::Call(true)));
    world.corrupt(B);
    world.run(PEER_TIMEOUT * 3);
    let diverged = |event: &Event| matches!(event, Event::SteppedDown { reason, .. } if reason.to_string().contains("differs"));
    assert!(world.events(B).iter().any(diverged));
    world.assert_whole(A);
}

#[test]
fn a_limit_is_a_refusal_and_changes_nothing() {
    let limits = Limits {
        clients: 2,
        locks: 1,
        ..Limits::default()
    };
    let mut world = World::new().with_limits(limits).whole();
    let mut one = world.open_session(A, 1);
    let mut two = world.open_session(A, 2);
    let client = crate::types::ClientId::from_u128(3);
    assert_eq!(
        world.answer(
            A,
            Request::OpenSession {
                client,
                terms: None
            }
        ),
        Err(Refusal::Overloaded(Resource::Clients))
    );
    assert_eq!(world.answer(A, one.lock("x")), Ok(Answer::Call(true)));
    let full = two.lock("y");
    assert_eq!(
        world.answer(A, full.clone()),
        Err(Refusal::Overloaded(Resource::Locks))
    );
    assert_eq!(world.answer(A, two.lock("x")), Ok(Answer::Call(false)));
    assert_eq!(world.answer(A, one.unlock("x")), Ok(Answer::Call(true)));
    world.assert_whole(A);
}

#[test]
fn the_record_of_a_silent_client_expires_and_one_that_is_kept_alive_does_not() {
    let ttl = Duration::from_mins(1);
    let mut world = World::new().with_time_to_live(ttl).whole();
    let mut silent = world.open_session(A, 1);
    let mut alive = world.open_session(A, 2);
    for _ in 0..10 {
        world.run(ttl / 5);
        let keep_alive = Request::KeepAlive {
            client: alive.id,
            session: alive.record,
        };
        assert_eq!(world.answer(B, keep_alive), Ok(Answer::Done));
    }
    assert_eq!(
        world.answer(A, silent.lock("x")),
        Err(Refusal::UnknownSession)
    );
    assert_eq!(world.answer(A, alive.lock("x")), Ok(Answer::Call(true)));
    world.assert_whole(A);
}

#[test]
fn a_new_primary_counts_every_record_as_heard() {
    let ttl = Duration::from_mins(1);
    let mut world = World::new().with_time_to_live(ttl).whole();
    let mut client = world.open_session(A, 1);
    world.run(ttl * 9 / 10);
    world.halt(A);
    world.run(ttl * 9 / 10);
    assert_eq!(world.answer(B, client.lock("x")), Ok(Answer::Call(true)));
}

#[test]
fn a_server_is_in_sync_only_while_its_link_is_open_and_speaks_and_nobody_doubts() {
    let in_sync = |world: &World, server| world.core(server).status(Now(world.now)).in_sync;

    let mut cut = World::new().whole();
    cut.reset();
    cut.run_to_rest_but(|envelope| matches!(envelope.message, Message::Probe { .. }));
    assert!(!in_sync(&cut, A) && !in_sync(&cut, B));

    let mut silent = World::new().whole();
    silent.stop(A);
    silent.run(PEER_TIMEOUT * 21 / 20);
    assert_eq!(silent.role(B), RoleName::Backup, "nothing is decided yet");
    assert!(!in_sync(&silent, B));

    for stopped in [A, B] {
        let mut doubts = World::new().whole();
        doubts.stop(stopped);
        doubts.run(PEER_TIMEOUT * 9 / 10);
        doubts.wake(stopped);
        doubts.input(stopped, Input::Wake);
        assert!(!in_sync(&doubts, stopped), "{stopped} is in doubt");
        doubts.run(PEER_TIMEOUT / 2);
        assert!(in_sync(&doubts, stopped));
    }
}

#[test]
fn a_primary_is_not_in_sync_before_its_backup_has_taken_the_join() {
    let mut world = World::new().whole();
    world.halt(A);
    world.run(PEER_TIMEOUT / 100);
    world.start(A);
    let alone = world.view(B).expect("B has a view");
    let join = |envelope: &Envelope| matches!(&envelope.message, Message::Frame { frame, .. } if frame.view() > alone);
    world.run_but(PEER_TIMEOUT / 2, join);
    assert_eq!(world.role(B), RoleName::Primary);
    assert!(!world.core(B).status(Now(world.now)).in_sync);
}

#[test]
fn a_record_whose_client_said_goodbye_does_not_expire_as_well() {
    let ttl = Duration::from_mins(1);
    let mut world = World::new().with_time_to_live(ttl).whole();
    let client = world.open_session(A, 1);
    assert_eq!(world.answer(A, client.close_session()), Ok(Answer::Done));
    world.run(ttl * 2);
    let expired =
        |event: &Event| matches!(event, Event::Leader(LeaderEvent::SessionsExpired { .. }));
    assert!(!world.events(A).iter().any(expired));
}

#[test]
fn every_change_is_told_in_one_line() {
    let mut world = World::new().whole();
    world.stop(A);
    world.run(PEER_TIMEOUT * 2);
    world.wake(A);
    world.run(PEER_TIMEOUT * 3);
    world.halt(B);
    world.run(PEER_TIMEOUT);
    for server in [A, B] {
        for event in world.events(server) {
            let line = event.to_string();
            assert!(
                line.len() > 20 && !line.contains('\n'),
                "{event:?}: {line:?}"
            );
        }
    }
    let why = FailureCause::Silent.to_string();
    let notified = |event: &Event| {
        matches!(event, Event::TookOver { .. }) && event.to_string().ends_with(&why)
    };
    assert!(!why.is_empty() && world.events(B).iter().any(notified));
    let doubts = super::super::Suspicion::Unconfirmed.to_string();
    let notified = |event: &Event| !doubts.is_empty() && event.to_string().contains(&doubts);
    assert!(world.events(A).iter().any(notified));
}

#[test]
fn a_cluster_is_kept_through_failovers_and_joins_and_is_new_when_both_servers_were_lost() {
    let mut world = World::new().whole();
    let cluster = world.machine(A).cluster();
    for lost in [A, B] {
        assert_eq!(world.machine(B).cluster(), cluster);
        world.halt(lost);
        world.run(PEER_TIMEOUT);
        world.start(lost);
        world.run(PEER_TIMEOUT * 3);
        world.assert_whole(lost.peer());
        assert_eq!(world.machine(lost).cluster(), cluster);
    }
    for server in [A, B] {
        world.halt(server);
    }
    for server in [A, B] {
        world.start(server);
        assert_eq!(world.core(server).cluster(), None);
    }
    world.run(PEER_TIMEOUT);
    world.assert_whole(A);
    assert_ne!(world.machine(A).cluster(), cluster);
    assert_eq!(world.machine(A).cluster(), world.machine(B).cluster());
}

/// The servers lose every frame with more than one command.
fn is_large(envelope: &Envelope) -> bool {
    let Message::Frame { frame, .. } = &envelope.message else {
        return false;
    };
    matches!(frame, Frame::Forward { commands, .. } if commands.len() > 1)
}

#[test]
fn a_burst_that_gets_lost_on_the_way_is_sent_again_in_small_frames() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let name = "n".repeat(600);
    let tokens: Vec<_> = (0..64)
        .map(|n| world.ask(A, client.lock(&format!("{name}{n}"))))
        .collect();
    world.lose(PEER_TIMEOUT / 2, is_large);
    let status = world.core(A).status(Now(world.now));
    assert!(!status.in_sync, "it is not acknowledged");
    world.lose(PEER_TIMEOUT * 2, is_large);
    for token in tokens {
        assert_eq!(world.reply_to(token), Some(Ok(Answer::Call(true))));
    }
    world.assert_whole(A);
    assert_eq!(world.view(A), Some(View::first(A)), "no failover");
    let notified =
        |wanted: fn(&Event) -> bool| world.events(A).iter().filter(|event| wanted(event)).count();
    assert_eq!(
        notified(|event| matches!(event, Event::FrameLost { .. })),
        1
    );
    assert_eq!(notified(|event| matches!(event, Event::Resumed)), 0);
}

/// Heartbeats and probes pass, and nothing else does.
fn has_commands(envelope: &Envelope) -> bool {
    let Message::Frame { frame, .. } = &envelope.message else {
        return false;
    };
    match frame {
        Frame::Forward { commands, .. } => !commands.is_empty(),
        Frame::SnapshotChunk { .. } => true,
        Frame::Open { .. } | Frame::Join { .. } => false,
    }
}

#[test]
fn a_backup_that_answers_and_cannot_be_fed_is_let_go_after_a_while() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let call = world.ask(A, client.lock("x"));
    world.lose(PEER_TIMEOUT * 7 / 2, has_commands);
    assert_eq!(world.reply_to(call), None);
    assert_eq!(
        (world.role(A), world.role(B)),
        (RoleName::Primary, RoleName::Backup)
    );
    world.lose(PEER_TIMEOUT * 2, has_commands);
    assert_eq!(world.reply_to(call), Some(Ok(Answer::Call(true))));
    assert_eq!(
        (world.role(A), world.role(B)),
        (RoleName::Standalone, RoleName::Starting)
    );
    world.lose(PEER_TIMEOUT * 8, has_commands);
    assert_eq!(world.answer(A, client.lock("y")), Ok(Answer::Call(true)));

    world.run(PEER_TIMEOUT * 8);
    world.assert_whole(A);
    assert!(world.is_held(B, "x"));
}

#[test]
fn a_frame_that_is_late_for_its_sender_slept_is_not_taken_for_lost() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let call = world.ask(A, client.lock("x"));
    world.stop(A);
    world.run(PEER_TIMEOUT / 2);
    world.run_but(PEER_TIMEOUT / 2, |envelope| envelope.to == B);
    world.wake(A);
    world.run(PEER_TIMEOUT);
    assert!(world.reply_to(call).is_some());
    let lost = |event: &Event| matches!(event, Event::FrameLost { .. });
    assert!(!world.events(A).iter().any(lost));
}
