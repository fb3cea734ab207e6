# The commands of this repository. `just` alone lists them.

export RUST_BACKTRACE := env("RUST_BACKTRACE", "1")

_default:
    @just --list --unsorted

# Everything that CI runs
check *STEPS:
    .ci/run {{ STEPS }}

# Format the source
fmt:
    cargo fmt

# Look for what clippy warns of
lint:
    cargo clippy --locked --all-targets --all-features -- -D warnings

# Run all tests, or those whose name holds FILTER
test *FILTER:
    cargo test --locked {{ FILTER }}

# Run the tests N times, and stop at the first failure
repeat N *FILTER:
    #!/usr/bin/env bash
    set -euo pipefail
    for ((run = 1; run <= {{ N }}; run++)); do
        echo "==> run $run of {{ N }}"
        cargo test --locked --quiet {{ FILTER }}
    done

# Try CASES inputs for every property
properties CASES="100000":
    PROPTEST_CASES={{ CASES }} cargo test --locked --release --package lockservice --lib properties

# Torture a pair of real processes for DURATION while servers are killed, stopped and restarted, TIMES times
nemesis DURATION="1m" TIMES="1" *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    for ((run = 1; run <= {{ TIMES }}; run++)); do
        scripts/nemesis --duration {{ DURATION }} {{ ARGS }}
    done

# Play the seeds FROM to TO on the simulated network; what fails names its seed
simulate FROM="0" TO="20000":
    SIM_SEEDS={{ FROM }}..{{ TO }} cargo test --locked --release --test simulation no_seed -- --nocapture

# Try so many SCHEDULES of handlers, drivers and forwarders
interleave SCHEDULES="100000":
    SCHEDULES={{ SCHEDULES }} cargo test --locked --release --package lockservice --lib interleavings

# Run the tests on real processes with as many rounds as they are meant for
breaking *FILTER:
    LONG_TESTS=1 cargo test --locked --release --test torture --test breaking --test run {{ FILTER }}

# Let servers run out of memory, in control groups (needs root)
memory *FILTER:
    cargo test --locked --test memory -- {{ FILTER }}

# Throw a million malformed frames at live servers, and exhaust what can be exhausted
hostile *FILTER:
    LONG_TESTS=1 cargo test --locked --release --test overload -- --nocapture --test-threads=1 {{ FILTER }}

# Run the pair on hosts of their own, in network namespaces (takes root, ip, nft and ss)
hosts *FILTER:
    cargo test --locked --test hosts -- {{ FILTER }}

# Fuzz TARGET (preface, frames, names, addresses, conversation) for SECONDS (cargo install cargo-fuzz; nightly)
fuzz TARGET SECONDS="240":
    cargo +nightly fuzz run --sanitizer none --debug-assertions {{ TARGET }} -- -max_total_time={{ SECONDS }} -max_len=1500 -timeout=20

# Build the documentation and open it
doc:
    cargo doc --locked --no-deps --all-features --open

# Render the pages in docs/ as a book, below target/book (cargo install mdbook)
book *ARGS:
    mdbook build {{ ARGS }}

# Run the benches
bench *FILTER:
    cargo bench --locked {{ FILTER }}

# Measure everything that docs/performance.md tells, and make its tables and pictures anew
performance:
    cargo bench --locked --bench performance
    cargo bench --locked --bench performance -- publish

# Check licences, bans and sources of the dependencies (cargo install cargo-deny)
deny:
    cargo deny --offline --locked check licenses bans sources

# Mutate what changed since BASE; a mutant that no test notices is a gap (cargo install cargo-mutants)
mutants BASE="origin/main":
    #!/usr/bin/env bash
    set -euo pipefail
    diff=$(mktemp)
    trap 'rm -f "$diff"' EXIT
    git diff "{{ BASE }}" -- 'src/*.rs' > "$diff"
    cargo mutants --no-config --in-diff "$diff" -- --locked

# Mutate the two pure machines, the SHARD of it; `.cargo/mutants.toml` says what and how
mutants-pure SHARD="0/1":
    cargo mutants --shard {{ SHARD }}

# Explore every state of two role machines, in these scopes of `explore/scope.rs`
explore +SCOPES:
    EXPLORE="{{ SCOPES }}" cargo test --locked --release --package lockservice --lib explore -- --nocapture

# Take the rules of the pair out, one after the other, and see the exploration find out
refute *NAMES:
    tests/mutants/refute {{ NAMES }}

# Build the library as its users do: without what only the programs need
library:
    .ci/run features

# A pair of servers on this machine
dev *ARGS:
    cargo run --locked --bin lockd -- dev {{ ARGS }}
