# `just` lists what there is. Each recipe is one command that can be typed without just.

# Lists the recipes.
default:
    @just --list

# Runs everything that has to hold before a change lands.
check:
    bash .ci/run

# Runs the tests, or those whose name has a text in it.
test *args:
    cargo test --workspace {{args}}

# Writes what the transcripts come out as, or those whose name has a text in it.
update-transcripts *name:
    UPDATE=1 cargo test -p tests --test transcripts {{name}}

# Starts the local stack, or runs a command of it.
run *args:
    cargo run -- {{args}}

# Runs the benchmarks.
bench *args:
    cargo bench -p tests {{args}}

# Formats the code.
fmt:
    cargo fmt --all

# Runs the lints.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings
