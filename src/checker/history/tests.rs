use super::*;

fn name(text: &str) -> LockName {
    text.parse().expect("a name")
}

#[test]
fn a_call_is_before_another_that_was_made_after_its_answer() {
    let recorder = Recorder::new();
    recorder.invoke(1, Verb::Lock, &name("a")).returned(true);
    let unheard = recorder.invoke(2, Verb::Unlock, &name("a"));
    recorder.invoke(1, Verb::Lock, &name("b")).returned(false);
    unheard.unknown();
    recorder.invoke(3, Verb::Lock, &name("a")).refused();

    let history = recorder.history();
    let [first, unheard, refused] = history.operations() else {
        panic!("a refused call is left out: {history}");
    };
    assert!(first.answered().expect("answered") < unheard.called);
    assert!(unheard.may_be_after(refused.answered().expect("answered")));
    assert_eq!(refused.result(), Some(false));
    assert_eq!(history.by_name()[&name("a")], [first, unheard]);
}

#[test]
fn a_history_reads_what_it_writes() {
    let recorder = Recorder::new();
    for text in ["a b", " ", "line\nbreak\r\\n", "ünï"] {
        recorder.invoke(7, Verb::Lock, &name(text)).returned(true);
        recorder.invoke(8, Verb::Unlock, &name(text)).unknown();
    }
    let text = recorder.history().to_string();
    let read: History = text.parse().expect("its own text");
    assert_eq!(read.to_string(), text);
    assert_eq!(read.operations().len(), 8);
    assert_eq!(read.operations()[4].name, name("line\nbreak\r\\n"));
}

#[test]
fn a_history_may_have_remarks() {
    let text = "# what happened\n c1 lock 0..1 true a\n\n# and no more\n";
    let history: History = text.parse().expect("a history");
    assert_eq!(history.operations().len(), 1);
}

#[test]
fn what_was_taken_away_is_not_told_again_and_a_call_that_was_under_way_stays_unknown() {
    let recorder = Recorder::new();
    let under_way = recorder.invoke(1, Verb::Lock, &name("a"));
    let refused = recorder.invoke(2, Verb::Lock, &name("b"));
    let first = recorder.take();
    assert_eq!(first.operations().len(), 2);

    let later = recorder.invoke(3, Verb::Unlock, &name("c"));
    under_way.returned(true);
    refused.refused();
    later.returned(false);
    let second = recorder.take();
    let [later] = second.operations() else {
        panic!("one call was made since: {second}");
    };
    assert!(later.client == 3 && later.result() == Some(false));
    assert!(first.operations()[1].called < later.called);
    assert!(recorder.history().operations().is_empty());
}

#[test]
fn what_is_no_history_is_refused() {
    for line in [
        "c1 lock 0..1 true",
        "lock 0..1 true a",
        "c1 steal 0..1 true a",
        "c1 lock 0..? true a",
        "c1 lock 0..1 maybe a",
        "c1 lock 0..1 true \\",
    ] {
        assert!(line.parse::<History>().is_err(), "{line}");
    }
}

#[test]
fn clients_on_many_threads_get_ticks_of_their_own() {
    let recorder = Recorder::new();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let recorder = recorder.clone();
            scope.spawn(move || {
                for _ in 0..100 {
                    recorder
                        .invoke(client, Verb::Lock, &name("a"))
                        .returned(true);
                }
            });
        }
    });
    let history = recorder.history();
    let mut ticks: Vec<_> = history
        .operations()
        .iter()
        .flat_map(|operation| [Some(operation.called), operation.answered()])
        .map(|moment| moment.expect("answered").tick)
        .collect();
    ticks.sort_unstable();
    assert_eq!(ticks, (1..=800).collect::<Vec<_>>());
}
