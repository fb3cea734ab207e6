//! The tables. Each cell that was not measured is left empty.

use std::fmt::Write as _;

use super::super::calls::Names;
use super::super::clerks::Clerks;
use super::super::failover::{Failovers, Failure, median_least_most};
use super::super::handover::Handovers;
use super::super::held::Held;
use super::super::idle::Idle;
use super::super::loads::{Figure, Load, Measured, PARTS, Run, TARGETS, load};
use super::super::owned::Owned;
use super::super::ownership::{self, Ownership};
use super::super::restart::Restart;
use super::super::results::Results;

pub(super) fn all(results: &Results) -> [(&'static str, String); 5] {
    [
        ("goals", goals(results)),
        ("others", others(results)),
        ("loads", loads(results)),
        ("failover", failover(results)),
        ("short", short(results)),
    ]
}

/// A figure of one load for which there is a goal, as a ratio to plain.
struct Goal {
    what: &'static str,
    load: Load,
    figure: Figure,
    must: f64,
    aim: f64,
}

const fn throughput(what: &'static str, load: Load, must: f64, aim: f64) -> Goal {
    Goal {
        what,
        load,
        figure: |it| it.calls_per_second,
        must,
        aim,
    }
}

const GOALS: [Goal; 7] = [
    Goal {
        what: "latency p50, one call in flight",
        load: load(1, 1),
        figure: |it| it.p50_us,
        must: 1.5,
        aim: 0.8,
    },
    throughput("throughput, one clerk, 8 in flight", load(8, 1), 0.9, 1.5),
    throughput("throughput, one clerk, 64 in flight", load(64, 1), 0.9, 1.2),
    throughput(
        "throughput, one clerk, 256 in flight",
        load(256, 1),
        1.2,
        1.5,
    ),
    throughput(
        "throughput, 8 clerks with one call each",
        load(1, 8),
        0.4,
        0.7,
    ),
    throughput(
        "throughput, 64 clerks with one call each",
        load(1, 64),
        0.8,
        1.0,
    ),
    Goal {
        what: "processor time of all servers for a call, one clerk, 64 in flight",
        load: load(64, 1),
        figure: |it| it.server_cpu_us_per_call,
        must: 0.8,
        aim: 0.5,
    },
];

fn pair(run: &Run) -> &super::super::loads::Figures {
    &run.pair
}

fn goals(results: &Results) -> String {
    let mut table =
        "| figure, as a ratio to *plain* | pair | tuned | must | aim |\n|---|---|---|---|---|\n"
            .to_owned();
    for goal in GOALS {
        let measured = Measured::read(results, goal.load);
        let ratio = |part| cell(measured.as_ref().map(|it| it.ratio(part, goal.figure)), 2);
        let (pair, tuned) = (ratio(pair), ratio(|run| &run.tuned));
        let Goal {
            what, must, aim, ..
        } = goal;
        row(
            &mut table,
            &[
                what.to_owned(),
                format!("**{pair}**"),
                tuned,
                format!("{must:?}"),
                format!("{aim:?}"),
            ],
        );
    }
    table
}

fn others(results: &Results) -> String {
    let (held, restart) = (Held::read(results), Restart::read(results));
    let throughput = |names| cell(held.as_ref().map(|it| it.throughput_ratio(names)), 2);
    let owned = Owned::read(results);
    let (idle, clerks) = (Idle::read(results), Clerks::read(results));
    let handovers = Handovers::read(results).map(|it| it.ratios());
    let ownership = Ownership::read(results);
    let owned_calls = ownership::GOALS.iter().map(|goal| {
        let ratio = ownership.as_ref().and_then(|it| it.ratio(goal));
        (goal.what, cell(ratio, 2), goal.must, goal.aim)
    });
    let rows = [
        (
            "from a release to the grant to who waits, p50, to one `lock` call",
            cell(handovers.map(|[p50, _]| p50), 2),
            "",
            "",
        ),
        (
            "the same, p99, to the p50 of one `lock` call",
            cell(handovers.map(|[_, p99]| p99), 2),
            "",
            "",
        ),
        (
            "processor time of an idle pair, % of a core",
            cell(idle.map(|it| it.percent_of_a_core()), 2),
            "0.5",
            "0.1",
        ),
        (
            "throughput with a million locks held, to an empty table, 64 in flight",
            throughput(Names::Own),
            "0.95",
            "1.0",
        ),
        (
            "the same, each time another lock, of which no cache holds anything",
            throughput(Names::Random),
            "",
            "",
        ),
        (
            "memory for a held lock with a name of 16 bytes, a million held, on the primary, bytes",
            cell(held.as_ref().map(Held::bytes_per_lock), 0),
            "150",
            "100",
        ),
        (
            "memory for a lock that is owned, with a name of 16 bytes, 100,000 owned by one session, on the primary, bytes",
            cell(owned.as_ref().map(Owned::bytes_per_lock), 0),
            "",
            "",
        ),
        (
            "memory for a place in the queue of one lock, 10,000 wait in one session, on the primary, bytes",
            cell(owned.as_ref().map(Owned::bytes_per_waiter), 0),
            "",
            "",
        ),
        (
            "a restarted server in a whole pair again, a million locks held, s",
            cell(restart.as_ref().map(Restart::seconds_until_whole), 2),
            "3",
            "1",
        ),
        (
            "the p99 of 8 clients meanwhile, to that before",
            cell(restart.as_ref().map(Restart::p99_ratio), 1),
            "10",
            "3",
        ),
        (
            "memory for a connected, idle clerk of 5,000, on the primary, KiB",
            cell(clerks.map(|it| it.kib_per_clerk()), 1),
            "40",
            "20",
        ),
    ];
    let mut table = "| figure | pair | must | aim |\n|---|---|---|---|\n".to_owned();
    for (what, measured, must, aim) in owned_calls.chain(rows) {
        let measured = format!("**{measured}**");
        row(
            &mut table,
            &[what.to_owned(), measured, must.to_owned(), aim.to_owned()],
        );
    }
    table
}

fn loads(results: &Results) -> String {
    let mut table = "| in flight x clients | server | k calls/s | p50 us | p99 us | p99.9 us | server CPU us a call |\n|---|---|---|---|---|---|---|\n".to_owned();
    for load in TARGETS {
        let Some(measured) = Measured::read(results, load) else {
            continue;
        };
        for (name, part) in PARTS {
            let of = |figure, digits| cell(Some(measured.median(part, figure)), digits);
            let cells = [
                load.to_string().replace('x', " x "),
                name.to_owned(),
                of(|it| it.calls_per_second / 1e3, 1),
                of(|it| it.p50_us, 0),
                of(|it| it.p99_us, 0),
                of(|it| it.p999_us, 0),
                of(|it| it.server_cpu_us_per_call, 1),
            ];
            row(&mut table, &cells);
        }
    }
    table
}

fn failover(results: &Results) -> String {
    let mut table =
        "| the primary is | the client | rounds | median | least | most | locks lost |\n\
        |---|---|---|---|---|---|---|\n"
            .to_owned();
    let failures = [
        (Failure::Kill, "killed (`kill -9`)"),
        (Failure::End, "asked to end (`kill -TERM`)"),
        (Failure::Stop, "stopped (`kill -STOP`)"),
    ];
    for (failure, what) in failures {
        let Some(failovers) = Failovers::read(results, failure) else {
            continue;
        };
        for (client, gaps, lost) in failovers.clients() {
            let rounds = gaps.after.len().to_string();
            let gaps = median_least_most(&gaps.after);
            let digits = usize::from(gaps[0] < 100.0);
            let [median, least, most] = gaps.map(|gap| format!("{} ms", cell(Some(gap), digits)));
            let lost = lost.map(|lost| lost.to_string()).unwrap_or_default();
            let cells = [
                what.to_owned(),
                client.to_owned(),
                rounds,
                median,
                least,
                most,
                lost,
            ];
            row(&mut table, &cells);
        }
    }
    table
}

/// What the README tells of the loads.
fn short(results: &Results) -> String {
    let mut table =
        "| | plain tarpc call to one server | replicated lock |\n|---|---|---|\n".to_owned();
    let rows: [(&str, Load, Figure, &str, usize); 5] = [
        (
            "one call at a time: median latency",
            load(1, 1),
            |it| it.p50_us,
            " us",
            0,
        ),
        (
            "64 calls in flight",
            load(64, 1),
            |it| it.calls_per_second / 1e3,
            " k calls/s",
            0,
        ),
        (
            "256 calls in flight",
            load(256, 1),
            |it| it.calls_per_second / 1e3,
            " k calls/s",
            0,
        ),
        (
            "64 clients with one call each",
            load(1, 64),
            |it| it.calls_per_second / 1e3,
            " k calls/s",
            0,
        ),
        (
            "processor time of the servers, 64 in flight",
            load(64, 1),
            |it| it.server_cpu_us_per_call,
            " us a call",
            1,
        ),
    ];
    for (what, load, figure, unit, digits) in rows {
        let Some(measured) = Measured::read(results, load) else {
            continue;
        };
        let of = |part| {
            format!(
                "{}{unit}",
                cell(Some(measured.median(part, figure)), digits)
            )
        };
        row(
            &mut table,
            &[what.to_owned(), of(|run| &run.plain), of(pair)],
        );
    }
    table
}

fn row(table: &mut String, cells: &[String]) {
    writeln!(table, "| {} |", cells.join(" | ")).expect("a string takes it");
}

/// With so many digits after the point, and thousands apart.
fn cell(figure: Option<f64>, digits: usize) -> String {
    let Some(figure) = figure else {
        return String::new();
    };
    let text = format!("{figure:.digits$}");
    let whole = text.find('.').unwrap_or(text.len());
    if whole <= 3 {
        return text;
    }
    format!("{},{}", &text[..whole - 3], &text[whole - 3..])
}
