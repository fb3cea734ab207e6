//! The traces of `docs/protocol.md`: each broke an earlier wording of the protocol. A test is named
//! after the rule that mends its trace, and fails when that rule is taken out.

use super::world::{Envelope, Message, PEER_TIMEOUT, World};
use super::{A, B};
use crate::engine::pair::core::{Event, Input, ProbeId, ProbeResult};
use crate::engine::pair::protocol::{Frame, FrameAnswer, PeerState};
use crate::service::{Answer, Refusal, Request, RoleName};
use crate::types::{ServerId, View};

fn is_probe_result(to: ServerId) -> impl Fn(&Envelope) -> bool {
    move |envelope| envelope.to == to && matches!(envelope.message, Message::ProbeResult { .. })
}

fn is_probe(envelope: &Envelope) -> bool {
    matches!(
        envelope.message,
        Message::Probe { .. } | Message::ProbeResult { .. }
    )
}

/// A's link is reset and it probes; it is stopped before it reads the answer. B finds it silent and
/// goes on alone. A wakes with its timer long over and an answer unread beside it.
#[test]
fn m1_a_verdict_counts_only_if_the_prober_ran_throughout() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.reset();
    world.run_to_rest_but(|envelope| is_probe(envelope) || envelope.to == B);
    world.stop(A);
    world.run_to_rest();
    world.run(PEER_TIMEOUT * 2);
    assert_eq!(world.role(B), RoleName::Standalone);
    assert_eq!(world.answer(B, client.lock("x")), Ok(Answer::Call(true)));

    world.wake(A);
    world.input(A, Input::Wake);
    assert_ne!(
        world.role(A),
        RoleName::Standalone,
        "the timer is not believed"
    );
    world.run_to_rest();
    let stepped_down = |event: &Event| matches!(event, Event::SteppedDown { .. });
    assert!(world.events(A).iter().any(stepped_down));
    world.run(PEER_TIMEOUT * 2);
    world.assert_whole(B);
    assert!(world.is_held(A, "x"));
}

/// The same with B halted in the end: what A holds is old, and it must not come back with it.
#[test]
fn m1_an_answer_that_lay_unread_is_void() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.reset();
    world.run_to_rest_but(is_probe);
    world.run_to_rest_but(is_probe_result(A));
    world.stop(A);
    world.run_to_rest();
    world.run(PEER_TIMEOUT * 2);
    assert_eq!(world.role(B), RoleName::Standalone);
    assert_eq!(world.answer(B, client.lock("x")), Ok(Answer::Call(true)));
    let unread = world.take(is_probe_result(A));
    world.halt(B);

    world.wake(A);
    for answer in unread {
        world.deliver(answer);
    }
    world.run(PEER_TIMEOUT * 3);
    assert_eq!(world.role(A), RoleName::Starting, "not from its old state");
}

/// The link is reset; both probe; a second reset breaks both probe connections.
#[test]
fn m2_a_probe_whose_connection_breaks_says_nothing() {
    let mut world = World::new().whole();
    world.reset();
    world.run_to_rest_but(is_probe);
    world.reset();
    world.run_to_rest();
    world.run(PEER_TIMEOUT * 2);
    world.assert_whole(A);
    assert_eq!(world.view(A), Some(View::first(A)), "neither went alone");
}

/// A forms view 1 and executes X; B has not read the forming. A halts, restarts and forms view 1
/// again.
#[test]
fn m3_nothing_of_an_older_link_reaches_a_server_that_said_starting() {
    let mut world = World::new();
    world.start(A);
    world.start(B);
    let old_link =
        |envelope: &Envelope| envelope.to == B && matches!(envelope.message, Message::Frame { .. });
    world.run_to_rest_but(old_link);
    assert_eq!(world.role(A), RoleName::Primary);
    let client = crate::types::ClientId::from_u128(1);
    world.ask(
        A,
        Request::OpenSession {
            client,
            terms: None,
        },
    );
    let unread = world.take(old_link);
    world.halt(A);
    world.take(|envelope| envelope.to == B && matches!(envelope.message, Message::Closed { .. }));

    world.start(A);
    // A asks B, which says `Starting`; A forms again; only now does B read the first forming.
    world.run_to_rest_but(old_link);
    assert_eq!(world.role(A), RoleName::Primary);
    let second = world.take(old_link);
    for envelope in unread {
        world.deliver(envelope);
        assert_eq!(world.role(B), RoleName::Starting, "the old forming is void");
    }
    for envelope in second {
        world.deliver(envelope);
    }
    world.run(PEER_TIMEOUT * 3);
    world.assert_whole(A);
    assert_eq!(world.machine(B).clients(), 0, "the old X is not in it");
}

/// A halts, restarts and is synced. B executes and answers a call between sending the join and its
/// acceptance; then B stops, and A takes over.
#[test]
fn m4_from_the_join_on_an_answer_needs_the_peer() {
    let mut world = World::new().whole();
    let mut client = world.open_session(B, 1);
    world.halt(A);
    world.run(PEER_TIMEOUT / 100);
    world.start(A);
    // The join, and what comes behind it on the same link, carry the new view.
    let alone = world.view(B).expect("B has a view");
    let join = |envelope: &Envelope| match &envelope.message {
        Message::Frame { frame, .. } => envelope.to == A && frame.view() > alone,
        _ => false,
    };
    world.run_but(PEER_TIMEOUT / 2, join);
    assert!(world.wire.iter().any(&join), "the join is on its way");
    let token = world.ask(B, client.lock("x"));
    world.run_to_rest_but(join);
    let answered = world.reply_to(token).is_some();
    for envelope in world.take(join) {
        world.deliver(envelope);
    }
    assert_eq!(world.role(A), RoleName::Backup);
    world.stop(B);
    world.run(PEER_TIMEOUT * 2);
    assert_eq!(world.role(A), RoleName::Standalone);
    assert!(
        !answered || world.is_held(A, "x"),
        "an answered call is lost"
    );
}

/// A is stopped; B goes on alone, and a client opens its record there. A wakes, and the client's
/// next call reaches A first.
#[test]
fn m5_a_refusal_waits_for_the_backup_too() {
    let mut world = World::new().whole();
    world.stop(A);
    world.run(PEER_TIMEOUT * 2);
    let mut client = world.open_session(B, 1);
    world.wake(A);
    let token = world.ask(A, client.lock("x"));
    assert_eq!(world.reply_to(token), None, "A does not know yet");
    world.run(PEER_TIMEOUT * 2);
    assert_eq!(world.reply_to(token), Some(Ok(Answer::Call(true))));
}

/// Open, lock, goodbye; then a late copy of the open, and one of the lock.
#[test]
fn m6_a_late_copy_of_an_open_and_a_call_changes_nothing() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let lock = client.lock("x");
    let unlock = client.unlock("x");
    assert_eq!(world.answer(A, lock.clone()), Ok(Answer::Call(true)));
    assert_eq!(world.answer(A, unlock), Ok(Answer::Call(true)));
    assert_eq!(world.answer(A, client.close_session()), Ok(Answer::Done));

    world.open_session(A, 1);
    assert_eq!(world.answer(A, lock), Err(Refusal::UnknownSession));
    assert!(!world.is_held(A, "x"));
}

/// A is fenced, steps down, is synced, is backup again. A late copy of the old fence arrives.
#[test]
fn m7_a_late_fence_changes_nothing() {
    let mut world = World::new().whole();
    world.stop(A);
    world.run(PEER_TIMEOUT * 2);
    let old = world.view(B).expect("B has a view");
    world.wake(A);
    world.run(PEER_TIMEOUT * 3);
    world.assert_whole(B);
    let whole = world.view(B).expect("B has a view");
    assert!(whole > old);

    for view in [old, whole] {
        world.input(A, Input::ViewAnnounced { view });
        assert_eq!(world.role(A), RoleName::Backup);
    }
    world.halt(A);
    world.run(PEER_TIMEOUT / 100);
    world.start(A);
    world.input(A, Input::ViewAnnounced { view: old });
    world.run(PEER_TIMEOUT * 3);
    world.assert_whole(B);
}

/// A frame of a stopped and woken primary is answered with the higher view, and fences it.
#[test]
fn m7_what_was_sent_under_a_lower_view_is_fenced() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.ask(A, client.lock("x"));
    let late =
        |envelope: &Envelope| envelope.to == B && matches!(envelope.message, Message::Frame { .. });
    let held = world.take(late);
    world.stop(A);
    world.run(PEER_TIMEOUT * 2);
    assert_eq!(world.role(B), RoleName::Standalone);
    let (op, digest) = (world.machine(B).op(), world.machine(B).digest());
    for envelope in held {
        world.deliver(envelope);
    }
    let fenced = |envelope: &Envelope| {
        matches!(
            envelope.message,
            Message::FrameAnswer {
                answer: FrameAnswer::HigherView { .. },
                ..
            }
        )
    };
    assert!(world.wire.iter().any(fenced));
    assert_eq!(
        (world.machine(B).op(), world.machine(B).digest()),
        (op, digest)
    );
}

/// A is stopped, B takes over and answers. A wakes and probes; B halts before it answers.
#[test]
fn m8_a_server_in_doubt_does_not_go_on_from_its_old_state() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.stop(A);
    world.run(PEER_TIMEOUT * 2);
    assert_eq!(world.answer(B, client.lock("x")), Ok(Answer::Call(true)));
    world.wake(A);
    world.input(A, Input::Wake);
    world.halt(B);
    world.run(PEER_TIMEOUT * 3);
    assert_eq!(world.role(A), RoleName::Starting);
}

/// The same with a woken backup: it must not take over.
#[test]
fn m8_a_backup_in_doubt_does_not_take_over() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.stop(B);
    world.run(PEER_TIMEOUT * 2);
    assert_eq!(world.answer(A, client.lock("x")), Ok(Answer::Call(true)));
    world.wake(B);
    world.halt(A);
    world.run(PEER_TIMEOUT * 3);
    assert_eq!(world.role(B), RoleName::Starting);
}

/// Doubt ends with an exchange that began after the wake: the next failure is survived.
#[test]
fn m8_doubt_ends_when_the_peer_has_answered() {
    for stopped in [A, B] {
        let mut world = World::new().whole();
        let mut client = world.open_session(A, 1);
        assert_eq!(world.answer(A, client.lock("x")), Ok(Answer::Call(true)));
        world.stop(stopped);
        world.run(PEER_TIMEOUT * 9 / 10);
        world.wake(stopped);
        world.run(PEER_TIMEOUT);
        let doubted = |event: &Event| matches!(event, Event::Unconfirmed { .. });
        assert!(world.events(stopped).iter().any(doubted), "{stopped}");
        world.assert_whole(A);
        world.halt(stopped.peer());
        world.run(PEER_TIMEOUT);
        assert_eq!(world.role(stopped), RoleName::Standalone);
        assert!(world.is_held(stopped, "x"));
    }
}

/// The link resets after B applied a call and before its acknowledgement arrived. No further call
/// comes.
#[test]
fn m9_the_op_that_a_probe_names_counts_as_an_acknowledgement() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let token = world.ask(A, client.lock("x"));
    world.run_to_rest_but(|envelope| matches!(envelope.message, Message::FrameAnswer { .. }));
    world.reset();
    let frames = |envelope: &Envelope| {
        matches!(
            envelope.message,
            Message::Frame { .. } | Message::FrameAnswer { .. }
        )
    };
    world.run_to_rest_but(frames);
    assert_eq!(
        world.reply_to(token),
        Some(Ok(Answer::Call(true))),
        "answered by the probe alone"
    );
    world.run_to_rest();
    assert_eq!(world.view(A), Some(View::first(A)));
}

/// A restarted A asks `who` while B is syncing it.
#[test]
fn m10_being_asked_decides_nothing() {
    let mut world = World::new().whole();
    world.halt(A);
    world.run(PEER_TIMEOUT / 100);
    world.start(A);
    let copy =
        |envelope: &Envelope| envelope.to == A && matches!(envelope.message, Message::Frame { .. });
    world.run_to_rest_but(copy);
    let view = world.view(B).expect("B has a view");
    for _ in 0..20 {
        let who = Message::Probe {
            probe: ProbeId(u64::MAX),
            asker: World::says(PeerState::Starting),
        };
        world.send_from(A, who);
        world.run_to_rest_but(copy);
    }
    world.run_to_rest();
    world.run(PEER_TIMEOUT * 3);
    world.assert_whole(B);
    let grown = world.view(B).expect("B has a view").number - view.number;
    assert_eq!(grown, 1, "one view for the join, none for being asked");
    let syncs = world.events(B).iter();
    let syncs = syncs.filter(|event| matches!(event, Event::SyncBegan { .. }));
    assert_eq!(syncs.count(), 1, "the sync goes on");
}

/// A question that does not fit makes a server ask, no more: a copy of an old one changes no view.
#[test]
fn m10_a_late_question_only_makes_the_asked_one_ask() {
    let mut world = World::new().whole();
    let view = world.view(A);
    for server in [A, B] {
        for asker in [
            PeerState::Starting,
            PeerState::Backup {
                view: View::first(B),
                op: crate::types::OpNumber(0),
            },
        ] {
            let who = Message::Probe {
                probe: ProbeId(u64::MAX),
                asker: World::says(asker),
            };
            world.send_from(server, who);
            world.run_to_rest();
        }
    }
    world.run(PEER_TIMEOUT * 2);
    world.assert_whole(A);
    assert_eq!(world.view(A), view);
}

/// A restarted A is synced, and B has sent the join. Only now does B read the question that A asked
/// before: to ask A in return would make it drop its copy.
#[test]
fn m10_a_late_question_does_not_break_off_a_join() {
    let mut world = World::new().whole();
    world.halt(A);
    world.run(PEER_TIMEOUT / 100);
    world.start(A);
    let request =
        |envelope: &Envelope| envelope.to == B && matches!(envelope.message, Message::Probe { .. });
    let alone = world.view(B).expect("B has a view");
    let join = move |envelope: &Envelope| match &envelope.message {
        Message::Frame { frame, .. } => envelope.to == A && frame.view() > alone,
        _ => false,
    };
    world.run_but(PEER_TIMEOUT / 2, |envelope| {
        request(envelope) || join(envelope)
    });
    assert!(world.wire.iter().any(join), "the join is on its way");
    world.run_to_rest_but(join);
    world.run_to_rest();
    world.run(PEER_TIMEOUT);
    world.assert_whole(B);
    assert_eq!(world.view(B), Some(alone.next(B)), "one view, for the join");
}

/// A is stopped for so long that its link counts as silent, and wakes before B has decided
/// anything. A call's frame leaves on the old link; B takes it after it has answered A's probe, and
/// before the new link is opened.
#[test]
fn what_comes_on_the_old_link_while_a_new_one_is_opened_counts_as_sent() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.stop(A);
    world.run(PEER_TIMEOUT * 21 / 20);
    world.wake(A);
    let token = world.ask(A, client.lock("x"));
    let by_link = |envelope: &Envelope| {
        let by_link = matches!(
            envelope.message,
            Message::Frame { .. } | Message::Closed { .. }
        );
        by_link && envelope.to == B
    };
    world.run_to_rest_but(by_link);
    assert!(world.events(A).contains(&Event::Resumed));
    world.run_to_rest();
    assert_eq!(world.reply_to(token), Some(Ok(Answer::Call(true))));
    world.assert_whole(A);
    assert_eq!(world.view(A), Some(View::first(A)));
}

/// A result of a probe that is not the current one changes nothing.
#[test]
fn a_void_probe_decides_nothing() {
    let mut world = World::new().whole();
    for result in [
        ProbeResult::Refused,
        ProbeResult::Answered(World::says(PeerState::Starting)),
    ] {
        let probe = ProbeId(u64::MAX);
        world.input(A, Input::Probed { probe, result });
    }
    world.run(PEER_TIMEOUT);
    world.assert_whole(A);
}

/// A is asked to end while an answer waits for B. B may take over only when A has answered for the
/// last time: what A is asked from then on it has not done.
#[test]
fn m11_a_server_retires_when_nothing_waits_and_answers_nobody_after_that() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let is_ack = |envelope: &Envelope| matches!(envelope.message, Message::FrameAnswer { .. });
    let before = world.ask(A, client.lock("x"));
    world.run_to_rest_but(is_ack);
    world.end(A);
    let after = world.ask(A, client.lock("y"));
    assert_eq!(world.reply_to(after), Some(Err(Refusal::NotReady)));
    world.run_but(PEER_TIMEOUT / 8, is_ack);
    assert_eq!(world.role(A), RoleName::Primary, "an answer waits");
    assert_eq!(
        (world.role(B), world.reply_to(before)),
        (RoleName::Backup, None)
    );

    world.run_to_rest();
    assert_eq!(world.reply_to(before), Some(Ok(Answer::Call(true))));
    assert!(matches!(
        world.core(A).peer_state(),
        PeerState::Retired { .. }
    ));
    assert_eq!(world.role(B), RoleName::Standalone);
    assert!(world.is_held(B, "x") && !world.is_held(B, "y"));
    assert_eq!(world.answer(A, client.lock("z")), Err(Refusal::NotReady));
}

/// Nothing gets through to B, and A asks it to step down. While that is on its way, what was lost
/// arrives after all, and A feeds B on a new link. The dismissal comes late, and then A halts.
#[test]
fn m12_a_late_dismissal_changes_nothing() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let call = world.ask(A, client.lock("x"));
    let is_late = |envelope: &Envelope| match &envelope.message {
        Message::Frame { frame, .. } => {
            matches!(frame, Frame::Forward { commands, .. } if !commands.is_empty())
        }
        Message::Closed { .. } => envelope.to == B,
        message => matches!(message, Message::Dismiss { .. }),
    };
    let dismissal = |envelope: &Envelope| matches!(envelope.message, Message::Dismiss { .. });
    while !world.wire.iter().any(dismissal) {
        world.run_but(PEER_TIMEOUT / 16, is_late);
    }
    assert_eq!(world.role(A), RoleName::Primary, "B has not agreed");
    assert_eq!(world.reply_to(call), None);
    let stream = world.accept();
    let late = world.take(dismissal);
    let Message::Dismiss { probe, view } = late[0].message else {
        unreachable!()
    };
    for frame in world.take(is_late) {
        world.deliver(frame);
    }
    let result = ProbeResult::Broken;
    world.input(A, Input::Probed { probe, result });
    world.run_to_rest();
    world.assert_whole(A);
    assert_eq!(world.reply_to(call), Some(Ok(Answer::Call(true))));

    world.dismiss(B, stream, view);
    assert_eq!(world.role(B), RoleName::Backup);
    world.halt(A);
    world.run(PEER_TIMEOUT);
    assert!(world.is_held(B, "x"));
}
