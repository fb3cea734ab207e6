//! What holds for every sequence of commands. `PROPTEST_CASES` sets how many are tried.

use proptest::collection::vec;
use proptest::prelude::*;

use super::model::Model;
use super::steps::commands;
use super::*;
use crate::machine::snapshot::tests::restored;

/// What is left of a machine when its op number is not looked at.
fn without_op(machine: &Machine) -> Machine {
    Machine {
        op: OpNumber(0),
        ..machine.clone()
    }
}

fn id_of(command: &Command) -> Option<&CallId> {
    match command {
        Command::Call { id, .. }
        | Command::Acquire { id, .. }
        | Command::Release { id, .. }
        | Command::Retain { id, .. }
        | Command::Break { id, .. } => Some(id),
        Command::OpenSession { .. }
        | Command::CloseSession { .. }
        | Command::Expire { .. }
        | Command::Elapse { .. }
        | Command::Clock { .. } => None,
    }
}

fn after(commands: &[Command]) -> Machine {
    let mut machine = Machine::default();
    apply_all(&mut machine, commands);
    machine
}

fn apply_all(machine: &mut Machine, commands: &[Command]) {
    for command in commands {
        machine.apply(command, ServerId::A);
    }
}

proptest! {
    #[test]
    fn the_machine_does_what_the_naive_model_does(
        commands in commands(),
        take_overs in vec(any::<bool>(), 60),
    ) {
        let (mut machine, mut model) = (Machine::default(), Model::default());
        let mut issuer = ServerId::A;
        for (command, takes_over) in commands.iter().zip(take_overs) {
            if takes_over {
                issuer = issuer.peer();
            }
            let outcome = machine.apply(command, issuer);
            prop_assert_eq!(outcome, model.apply(command, issuer), "{:?}", command);
            model.assert_shown_by(&machine);
        }
    }

    #[test]
    fn states_differ_in_their_digests_when_different_primaries_have_granted(
        commands in commands(),
    ) {
        let (mut machine, mut other) = (Machine::default(), Machine::default());
        for command in &commands {
            machine.apply(command, ServerId::A);
            other.apply(command, ServerId::B);
            let same = machine.revision == other.revision;
            prop_assert_eq!(machine.digest() == other.digest(), same);
            prop_assert!(same == (machine.revision == Revision(0)));
        }
    }

    #[test]
    fn recall_foretells_apply_and_what_is_not_fresh_changes_nothing(commands in commands()) {
        let mut machine = Machine::default();
        for command in &commands {
            let before = machine.clone();
            let outcome = machine.apply(command, ServerId::A);
            let Some(id) = id_of(command) else { continue };
            match before.find_duplicate(id) {
                DuplicateLookup::Fresh => prop_assert_ne!(machine.find_duplicate(id), DuplicateLookup::Refused(CallRefusal::UnknownSession)),
                DuplicateLookup::Done(_) if matches!(command, Command::Acquire { .. }) => {
                    prop_assert_eq!(outcome, Outcome::Acquired(before.acquired(id)));
                }
                DuplicateLookup::Done(done) => prop_assert_eq!(outcome, Outcome::Call(done)),
                DuplicateLookup::Refused(refusal) => prop_assert_eq!(outcome, Outcome::Refused(refusal)),
            }
            if before.find_duplicate(id) != DuplicateLookup::Fresh {
                prop_assert_eq!(without_op(&machine), without_op(&before));
            }
        }
    }

    #[test]
    fn every_call_repeated_at_once_and_in_the_end_has_run_once(commands in commands()) {
        let mut machine = Machine::default();
        for command in &commands {
            let outcome = machine.apply(command, ServerId::A);
            let mut repeated = machine.clone();
            if matches!(outcome, Outcome::Call(_) | Outcome::Acquired(_)) {
                prop_assert_eq!(repeated.apply(command, ServerId::A), outcome);
                prop_assert_eq!(without_op(&repeated), without_op(&machine));
            }
        }
        let end = machine.clone();
        for command in &commands {
            if id_of(command).is_some_and(|id| end.find_duplicate(id) != DuplicateLookup::Fresh) {
                machine.apply(command, ServerId::A);
                prop_assert_eq!(without_op(&machine), without_op(&end));
            }
        }
    }

    #[test]
    fn the_kept_digest_is_the_computed_one(commands in commands()) {
        // Restoring computes the digest anew, and refuses a copy whose digest differs.
        let machine = after(&commands);
        prop_assert_eq!(restored(machine.snapshot()), machine);
    }

    #[test]
    fn digests_are_equal_exactly_when_states_are(one in commands(), other in commands()) {
        let (one, other) = (after(&one), after(&other));
        prop_assert_eq!(one.digest() == other.digest(), one == other);
        let (one, other) = (without_op(&one), without_op(&other));
        prop_assert_eq!(one.digest() == other.digest(), one == other);
    }

    #[test]
    fn a_snapshot_does_not_see_later_commands(
        commands in commands(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (earlier, later) = commands.split_at(cut.index(commands.len()));
        let mut machine = after(earlier);
        let snapshot = machine.snapshot();
        apply_all(&mut machine, later);
        prop_assert_eq!(restored(snapshot), after(earlier));
        prop_assert_eq!(machine, after(&commands));
    }

    #[test]
    fn a_clone_goes_its_own_way(shared in commands(), one in commands(), other in commands()) {
        let mut first = after(&shared);
        let mut second = first.clone();
        apply_all(&mut first, &one);
        apply_all(&mut second, &other);
        prop_assert_eq!(first, after(&[&shared[..], &one].concat()));
        prop_assert_eq!(second, after(&[&shared[..], &other].concat()));
    }

    #[test]
    fn a_command_survives_the_wire(commands in commands()) {
        for command in &commands {
            let bytes = postcard::to_stdvec(command).expect("a command encodes").len();
            let most = command.max_encoded_bytes();
            prop_assert!(bytes <= most && most <= bytes + 80, "{bytes} {most}");
        }
        let bytes = postcard::to_stdvec(&commands).expect("commands encode");
        prop_assert_eq!(postcard::from_bytes::<Vec<Command>>(&bytes).expect("they decode"), commands);
    }
}
