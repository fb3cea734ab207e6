//! One server at a time: what it does with a message that does not fit, at a limit, at a boundary.
//! The traces and the exploration get past most of these by another way, so each is told by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::primary::ReplicationMode;
use super::super::replication_queue::ReplicationQueue;
use super::super::{Core, Role};
use super::world::{Caller, Client, Envelope, Message, PEER_TIMEOUT, World};
use super::{A, B};
use crate::config::{Limits, MAX_BATCH_COMMANDS, MAX_UNACKED_COMMANDS, MIN_MEMORY};
use crate::engine::leader::LeaderEvent;
use crate::engine::pair::core::{
    Effect, Event, InStream, Input, Now, OutStream, ProbeResult, RelayId, Suspicion, Via,
};
use crate::engine::pair::protocol::PeerState;
use crate::engine::pair::protocol::{Frame, FrameAnswer, StreamPurpose};
use crate::machine::Command;
use crate::service::{Answer, Refusal, Request};
use crate::service::{Resource, RoleName};
use crate::types::{ClientId, OpNumber, ServerId, SessionId, View};

/// What a server would do, were it told this now.
fn told(world: &World, server: ServerId, input: Input<Caller>) -> Vec<Effect<Caller>> {
    step(&mut world.core(server).clone(), world.now, input)
}

fn step(core: &mut Core<Caller>, now: Duration, input: Input<Caller>) -> Vec<Effect<Caller>> {
    let mut effects = Vec::new();
    core.step(Now(now), input, &mut effects);
    effects
}

fn has(effects: &[Effect<Caller>], wanted: &Event) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::Event(event) if event == wanted))
}

fn suspects(world: &World, server: ServerId, asker: PeerState) -> bool {
    let stream = InStream(u64::MAX);
    let asker = World::says(asker);
    let effects = told(world, server, Input::Probe { stream, asker });
    let reason = Suspicion::StrangeQuestion;
    has(&effects, &Event::Suspect { reason })
}

fn answer_to(effects: &[Effect<Caller>]) -> Option<FrameAnswer> {
    effects.iter().find_map(|effect| match effect {
        Effect::FrameAnswer(answer) => Some(*answer),
        _ => None,
    })
}

fn replies(effects: &[Effect<Caller>]) -> Vec<Result<Answer, Refusal>> {
    let replies = effects.iter().filter_map(|effect| match effect {
        Effect::Reply(reply) => Some(reply.result.clone()),
        _ => None,
    });
    replies.collect()
}

fn is_frame_to(to: ServerId) -> impl Fn(&Envelope) -> bool {
    move |envelope| envelope.to == to && matches!(envelope.message, Message::Frame { .. })
}

fn view(world: &World, server: ServerId) -> View {
    world.view(server).expect("it has a view")
}

fn forward(view: View, first_op: OpNumber, commands: Vec<Command>) -> Frame {
    Frame::Forward {
        view,
        first_op,
        commands,
        digest: None,
    }
}

fn open() -> Command {
    Command::OpenSession {
        client: ClientId::from_u128(9),
        terms: None,
    }
}

fn open_request() -> Request {
    Request::OpenSession {
        client: ClientId::from_u128(9),
        terms: None,
    }
}

/// A was restarted, and has taken the opening of a link from B, and nothing of the copy.
fn receiving() -> (World, InStream) {
    let mut world = World::new().whole();
    world.halt(A);
    world.run(PEER_TIMEOUT / 100);
    world.start(A);
    let copy = |envelope: &Envelope| {
        envelope.to == A
            && matches!(&envelope.message, Message::Frame { frame, .. } if !matches!(frame, Frame::Open { .. }))
    };
    world.run_to_rest_but(copy);
    let mut core = world.core(A).clone();
    let Role::Starting(starting) = &mut core.role else {
        panic!("A has a role");
    };
    let stream = starting.drop_transfer().expect("a copy is under way");
    (world, stream)
}

/// The link on which the backup of a pair is fed.
fn link_of(world: &World, server: ServerId) -> InStream {
    match &world.core(server).role {
        Role::Backup(backup) => backup.stream.expect("a link"),
        _ => panic!("{server} is no backup"),
    }
}

#[test]
fn a_question_that_fits_makes_nobody_suspicious_and_any_other_does() {
    let world = World::new().whole();
    let (now, op) = (view(&world, A), world.machine(A).op());
    let other = now.next(B);
    assert!(!suspects(&world, A, PeerState::Backup { view: now, op }));
    assert!(suspects(&world, A, PeerState::Backup { view: other, op }));
    assert!(suspects(&world, A, PeerState::Primary { view: now, op }));
    assert!(suspects(&world, A, PeerState::Starting));
    assert!(!suspects(&world, B, PeerState::Primary { view: now, op }));
    assert!(suspects(&world, B, PeerState::Primary { view: other, op }));
    assert!(suspects(&world, B, PeerState::Backup { view: now, op }));
    assert!(suspects(&world, B, PeerState::Starting));
}

#[test]
fn whoever_syncs_or_joins_its_peer_suspects_it_only_if_it_has_a_view() {
    let (mut world, _) = receiving();
    for role in [RoleName::Standalone, RoleName::Primary] {
        assert_eq!(world.role(B), role);
        let strange = PeerState::Backup {
            view: View::first(A),
            op: OpNumber(0),
        };
        assert!(!suspects(&world, B, PeerState::Starting), "{role}");
        assert!(suspects(&world, B, strange), "{role}");
        let alone = view(&world, B);
        world.run_to_rest_but(|envelope| match &envelope.message {
            Message::Frame { frame, .. } => frame.view() > alone,
            _ => false,
        });
    }
}

#[test]
fn the_end_of_a_link_that_is_not_the_current_one_changes_nothing() {
    let world = World::new().whole();
    let (_, late) = (link_of(&world, B), InStream(0));
    assert_eq!(told(&world, B, Input::InStreamClosed { stream: late }), []);
    let late = OutStream(u64::MAX);
    assert_eq!(told(&world, A, Input::OutStreamClosed { stream: late }), []);

    let (world, stream) = receiving();
    let late = InStream(stream.0 - 1);
    assert_eq!(told(&world, A, Input::InStreamClosed { stream: late }), []);
    let late = OutStream(u64::MAX);
    assert_eq!(told(&world, B, Input::OutStreamClosed { stream: late }), []);
}

#[test]
fn a_copy_is_dropped_when_its_link_ends_or_is_silent_and_not_before() {
    let (mut world, stream) = receiving();
    let ended = told(&world, A, Input::InStreamClosed { stream });
    assert!(has(&ended, &Event::SyncBroken));
    assert!(ended.contains(&Effect::CloseInStream(stream)));
    for server in [A, B] {
        assert!(world.core(server).next_verdict() <= Now(world.now + PEER_TIMEOUT));
        assert_eq!(told(&world, server, Input::Wake), [], "{server}");
    }
    world.run_but(PEER_TIMEOUT * 2, |_| true);
    for server in [A, B] {
        assert!(
            world.events(server).contains(&Event::SyncBroken),
            "{server}"
        );
    }
}

#[test]
fn a_frame_that_came_on_another_link_is_not_taken() {
    let frame = |world: &World, server, stream| {
        let (view, op) = (view(world, B), OpNumber(u64::MAX / 2));
        let frame = forward(view, op, Vec::new());
        told(world, server, Input::Frame { stream, frame })
    };
    let (world, stream) = receiving();
    let late = InStream(stream.0 - 1);
    let closed = [Effect::FrameAnswer(FrameAnswer::Closed)];
    assert_eq!(frame(&world, A, late), closed);
    let world = World::new().whole();
    let late = InStream(link_of(&world, B).0 - 1);
    assert_eq!(frame(&world, B, late), closed);
}

#[test]
fn a_heartbeat_comes_between_the_chunks_of_a_copy_and_nothing_else_does() {
    let (world, stream) = receiving();
    let view = view(&world, B);
    let mut snapshot = world.machine(B).snapshot();
    let chunk = snapshot.next_chunk(usize::MAX).expect("a chunk");
    let other = view.next(B);
    let take = |frame: Frame| told(&world, A, Input::Frame { stream, frame });

    let heartbeat = take(forward(view, OpNumber(1), Vec::new()));
    let op = OpNumber(0);
    assert_eq!(answer_to(&heartbeat), Some(FrameAnswer::Ack { op }));
    let copy = Frame::SnapshotChunk {
        view: other,
        chunk: chunk.clone(),
    };
    for misfit in [
        copy,
        forward(view, OpNumber(1), vec![open()]),
        forward(other, OpNumber(1), Vec::new()),
    ] {
        let effects = take(misfit);
        assert_eq!(answer_to(&effects), Some(FrameAnswer::Closed));
        assert!(has(&effects, &Event::SyncBroken));
    }
    let op = world.machine(B).op();
    let copied = take(Frame::SnapshotChunk { view, chunk });
    assert_eq!(answer_to(&copied), Some(FrameAnswer::Ack { op }));
}

#[test]
fn a_backup_takes_no_frame_of_another_view_and_no_second_opening() {
    let world = World::new().whole();
    let (stream, view) = (link_of(&world, B), view(&world, B));
    let next = world.machine(B).op().next();
    let reason = Suspicion::BadFrame;
    let take = |stream, frame| told(&world, B, Input::Frame { stream, frame });
    let open = |view| Frame::Open {
        view,
        purpose: StreamPurpose::Resume,
        peer_timeout: PEER_TIMEOUT,
    };

    let again = take(stream, open(view));
    assert_eq!(again, [Effect::FrameAnswer(FrameAnswer::Closed)]);
    for (stream, frame) in [
        (stream, forward(view.next(A), next, Vec::new())),
        (InStream(u64::MAX), open(view.next(A))),
    ] {
        let effects = take(stream, frame);
        assert_eq!(answer_to(&effects), Some(FrameAnswer::Closed));
        assert!(has(&effects, &Event::Suspect { reason }));
    }
}

#[test]
fn what_a_probe_says_of_views_decides_who_goes_on() {
    let world = World::new().whole();
    let view = view(&world, A);
    let op = world.machine(A).op();
    let higher = PeerState::Primary {
        view: view.next(B),
        op,
    };
    let lower = PeerState::Backup { view, op };
    let probed = |core: &mut Core<Caller>, state| {
        let asker = World::says(PeerState::Starting);
        let stream = InStream(u64::MAX);
        let effects = step(core, world.now, Input::Probe { stream, asker });
        let probe = effects.iter().find_map(|effect| match effect {
            Effect::Probe { probe, .. } => Some(*probe),
            _ => None,
        });
        let probe = probe.expect("it asks");
        let result = ProbeResult::Answered(World::says(state));
        step(core, world.now, Input::Probed { probe, result })
    };
    let steps_down = |effects: &[Effect<Caller>]| {
        let stepped =
            |effect: &Effect<Caller>| matches!(effect, Effect::Event(Event::SteppedDown { .. }));
        effects.iter().any(stepped)
    };
    for server in [A, B] {
        let mut core = world.core(server).clone();
        assert!(steps_down(&probed(&mut core, higher)), "{server}");
        assert_eq!(core.peer_state(), PeerState::Starting);
        let fence = told(&world, server, Input::ViewAnnounced { view: view.next(B) });
        assert!(steps_down(&fence), "{server}");
    }
    let mut alone = World::new().whole();
    alone.halt(A);
    alone.run(PEER_TIMEOUT / 100);
    let mut core = alone.core(B).clone();
    let fenced = probed(&mut core, lower);
    let view = alone.view(B).expect("B has a view");
    assert!(fenced.contains(&Effect::AnnounceView { view }));
    assert!(!steps_down(&fenced));
}

#[test]
fn a_primary_refuses_calls_once_too_many_wait_for_its_backup() {
    let world = World::new().whole();
    let mut core = world.core(A).clone();
    let ask = |core: &mut Core<Caller>| {
        let (to, via, request) = (Caller::Client(0), Via::Client, open_request());
        replies(&step(core, world.now, Input::Request { to, via, request }))
    };
    fill(&mut core, MAX_UNACKED_COMMANDS - 1);
    assert_eq!(ask(&mut core), [], "it waits for the backup");
    let refused = Err(Refusal::Overloaded(Resource::Calls));
    assert_eq!(ask(&mut core), [refused]);
}

#[test]
fn a_sync_is_broken_off_once_too_many_commands_wait_for_its_end() {
    let (world, _) = receiving();
    let flushed = |commands| {
        let mut core = world.core(B).clone();
        fill(&mut core, commands);
        let mut effects = Vec::new();
        core.flush(Now(world.now), &mut effects);
        has(&effects, &Event::SyncBroken)
    };
    assert!(!flushed(0) && !flushed(MAX_UNACKED_COMMANDS));
    assert!(flushed(MAX_UNACKED_COMMANDS + 1) && flushed(MAX_UNACKED_COMMANDS + 2));
}

#[test]
fn commands_that_wait_for_the_other_server_take_no_more_memory_than_there_is_for_them() {
    let little = |core: &mut Core<Caller>| core.settings.limits.memory = Some(MIN_MEMORY);
    let world = World::new().whole();
    let refused = |commands| {
        let mut core = world.core(A).clone();
        little(&mut core);
        fill(&mut core, commands);
        let (to, via, request) = (Caller::Client(0), Via::Client, open_request());
        let effects = step(&mut core, world.now, Input::Request { to, via, request });
        replies(&effects) == [Err(Refusal::Overloaded(Resource::Calls))]
    };
    assert!(!refused(1_000) && refused(20_000));
    let (world, _) = receiving();
    let broken_off = |commands| {
        let mut core = world.core(B).clone();
        little(&mut core);
        fill(&mut core, commands);
        let mut effects = Vec::new();
        core.flush(Now(world.now), &mut effects);
        has(&effects, &Event::SyncBroken)
    };
    assert!(!broken_off(1_000) && broken_off(20_000));
}

/// Lets so many commands wait for the other server.
fn fill(core: &mut Core<Caller>, commands: usize) {
    let Role::Primary(primary) = &mut core.role else {
        panic!("no primary");
    };
    let queue = match &mut primary.mode {
        ReplicationMode::Standalone {
            sync: Some(queue), ..
        }
        | ReplicationMode::Replicated { queue, .. } => queue,
        ReplicationMode::Standalone { sync: None, .. } => panic!("nobody to send to"),
    };
    (0..commands).for_each(|_| queue.push(open()));
}

#[test]
fn the_digest_goes_with_the_last_batch_of_a_burst_and_with_no_other() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let burst = MAX_BATCH_COMMANDS * 2;
    let tokens: Vec<_> = (0..burst)
        .map(|n| world.ask(A, client.lock(&format!("{n}"))))
        .collect();
    let mut notified = Vec::new();
    while let [batch, ..] = &world.take(is_frame_to(B))[..] {
        if let Message::Frame {
            frame: Frame::Forward {
                commands, digest, ..
            },
            ..
        } = &batch.message
        {
            notified.push((commands.len(), digest.is_some()));
        }
        world.deliver(batch.clone());
        world.run_to_rest_but(is_frame_to(B));
    }
    let (last, before) = notified.split_last().expect("there are batches");
    assert!(before.len() > 2 && last.1);
    assert_eq!(before[0], (1, true), "it left at once");
    assert!(
        before[1..].iter().all(|(_, notified)| !notified),
        "{before:?}"
    );
    assert_eq!(notified.iter().map(|(len, _)| len).sum::<usize>(), burst);
    let answered = |token: &u32| world.reply_to(*token) == Some(Ok(Answer::Call(true)));
    assert!(tokens.iter().all(answered), "{tokens:?}");
    world.run(PEER_TIMEOUT);
    world.assert_whole(A);
    assert_eq!(view(&world, A), View::first(A));
}

#[test]
fn what_is_called_during_a_copy_is_sent_before_the_join() {
    let (mut world, _) = receiving();
    let mut client = {
        let token = world.ask(B, open_request());
        match world.reply_to(token) {
            Some(Ok(Answer::Opened(opened))) => Client::new(ClientId::from_u128(9), opened.session),
            other => panic!("not opened: {other:?}"),
        }
    };
    // More than one frame takes, and few enough to join with.
    for lock in 0..MAX_BATCH_COMMANDS - 1 {
        world.ask(B, client.lock(&format!("{lock}")));
    }
    world.run_to_rest();
    world.run(PEER_TIMEOUT);
    world.assert_whole(B);
    assert_eq!(world.machine(A).locks(), MAX_BATCH_COMMANDS as u64 - 1);
    for server in [A, B] {
        assert!(!world.events(server).contains(&Event::SyncBroken));
    }
}

#[test]
fn no_two_links_and_no_two_frames_have_one_number() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    let stream = |world: &World| match &world.core(A).role {
        Role::Primary(primary) => primary.queue().and_then(ReplicationQueue::stream),
        _ => None,
    };
    let (mut links, mut frames) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..3 {
        assert!(links.insert(stream(&world).expect("a link")));
        let mut note = |world: &mut World| {
            for envelope in world.take(is_frame_to(B)) {
                if let Message::Frame { number, .. } = envelope.message {
                    assert!(frames.insert(number), "{number:?}");
                }
                world.deliver(envelope);
            }
            world.run_to_rest();
        };
        for call in 0..2 {
            world.ask(A, client.lock(&format!("{n} {call}")));
            note(&mut world);
        }
        world.reset();
        world.run_to_rest_but(is_frame_to(B));
        note(&mut world);
    }
    assert_eq!(frames.len(), 9, "two calls and an opening");
}

#[test]
fn a_backup_relays_as_much_as_it_may_and_nothing_that_was_relayed() {
    let limits = Limits {
        calls: 1,
        clients: 1,
        ..Limits::default()
    };
    let mut world = World::new().with_limits(limits).whole();
    let (to, via) = (Caller::Client(99), Via::Peer);
    let request = open_request();
    let circling = told(&world, B, Input::Request { to, via, request });
    assert_eq!(replies(&circling), [Err(Refusal::NotReady)]);

    let opened = world.ask(B, open_request());
    let refused = world.ask(B, open_request());
    assert_eq!(
        (world.reply_to(opened), world.reply_to(refused)),
        (None, None)
    );
    let over = world.ask(B, open_request());
    let full = |resource| Some(Err(Refusal::Overloaded(resource)));
    assert_eq!(world.reply_to(over), full(Resource::Calls));
    world.run_to_rest();
    let answer = world.reply_to(opened);
    assert!(matches!(answer, Some(Ok(_))), "{answer:?}");
    assert_eq!(world.reply_to(refused), full(Resource::Clients));
}

#[test]
fn a_relay_is_tried_three_times_and_only_by_a_backup() {
    let mut world = World::new().whole();
    let token = world.ask(B, open_request());
    let relay = world
        .core(B)
        .relays
        .callers()
        .map(|(relay, _)| relay)
        .next();
    let relay = relay.expect("a relay");
    let result = None;
    let failed = Input::Relayed { relay, result };
    let mut core = world.core(B).clone();
    let mut fails = || replies(&step(&mut core, world.now, failed.clone()));
    let interrupted = [Err(Refusal::Interrupted)];
    assert_eq!((fails(), fails()), (vec![], vec![]));
    assert_eq!(fails(), interrupted);

    let mut core = world.core(B).clone();
    let view = view(&world, B).next(A);
    step(&mut core, world.now, Input::ViewAnnounced { view });
    assert_eq!(replies(&step(&mut core, world.now, failed)), interrupted);
    assert_eq!(world.reply_to(token), None);
}

#[test]
fn a_relay_whose_connection_broke_is_sent_again_when_the_primary_has_answered() {
    let mut world = World::new().whole();
    let token = world.ask(B, open_request());
    world.reset();
    world.run_to_rest();
    let answer = world.reply_to(token);
    assert!(matches!(answer, Some(Ok(_))), "{answer:?}");
    assert_eq!(world.role(A), RoleName::Primary);
    assert_eq!(view(&world, A), View::first(A), "no failover");
    let again = RelayId(u64::MAX);
    let result = Some(Err(Refusal::NotReady));
    assert_eq!(
        told(
            &world,
            B,
            Input::Relayed {
                relay: again,
                result
            }
        ),
        []
    );
}

#[test]
fn nobody_keeps_or_closes_the_record_of_another() {
    let mut world = World::new().whole();
    let mut owner = world.open_session(A, 1);
    let (client, session) = (ClientId::from_u128(2), owner.record);
    let unknown = Err(Refusal::UnknownSession);
    assert_eq!(
        world.answer(A, Request::KeepAlive { client, session }),
        unknown
    );
    assert_eq!(
        world.answer(A, Request::CloseSession { client, session }),
        Ok(Answer::Done)
    );
    assert_eq!(world.answer(A, owner.lock("x")), Ok(Answer::Call(true)));
    let (client, session) = (owner.id, SessionId(session.0 + 1));
    assert_eq!(
        world.answer(A, Request::KeepAlive { client, session }),
        unknown
    );
}

#[test]
fn an_idle_primary_wakes_for_its_heartbeats() {
    let mut world = World::new().whole();
    world.run(PEER_TIMEOUT);
    assert_eq!(world.core(A).peer_timeout(), PEER_TIMEOUT);
    let due = world.core(A).next_wake();
    world.now = due.0;
    world.input(A, Input::Wake);
    assert_eq!(world.wire.iter().filter(|it| is_frame_to(B)(it)).count(), 1);
    world.run_to_rest();
    let next = Now(world.now + PEER_TIMEOUT / 9);
    assert_eq!(world.core(A).next_wake(), next);
}

#[test]
fn records_that_expire_are_reported_and_none_are_not() {
    let ttl = Duration::from_mins(1);
    let mut world = World::new().with_time_to_live(ttl).whole();
    world.open_session(A, 1);
    world.run(ttl * 2);
    let expired = world.events(A).iter().filter_map(|event| match event {
        Event::Leader(LeaderEvent::SessionsExpired { count, .. }) => Some(*count),
        _ => None,
    });
    assert_eq!(expired.collect::<Vec<_>>(), [1]);
}
