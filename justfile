# `just` lists the recipes. Each is a plain command that works without just, too.

default:
    @just --list

# Start the studio
serve:
    cargo run --release

# Everything that CI decides on
ci:
    bash .ci/run

# Everything that is decided on a GPU
gpu:
    bash .ci/gpu

# All tests that need nothing installed
test:
    cargo test --workspace

# One crate: domain, store, plugin-host, engine, codetune
test-crate crate:
    cargo test -p {{crate}}

# Tests that need PostgreSQL, Chromium or a wasm build (see .ci/tools)
test-needs:
    eval "$(.ci/postgres start)" && cargo test --workspace -- --ignored; .ci/postgres stop

# Build every plugin from source into plugins/
plugins:
    .ci/build-plugins

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo deny check bans licenses sources

# Figures of BENCHMARKS.md
bench:
    cargo build --release
    target/release/codetune bench make-model --output target/smol-135m
    target/release/codetune bench train --model target/smol-135m --batch-size 2 --seq-len 512 --steps 5 --lora-r 16 --json
    python3 tests/peers/compare_train.py --codetune target/release/codetune --model target/smol-135m
    python3 tests/peers/compare_train.py --codetune target/release/codetune --model target/smol-135m --only-ours --rounds 1 --batch-size 1 --seq-len 256 1024 4096
    python3 tests/peers/compare_real_set.py --codetune target/release/codetune --model target/smol-135m
    target/release/codetune bench plugins --json

# Every fuzz target for so many seconds (needs: rustup toolchain install nightly; cargo install cargo-fuzz)
fuzz seconds="60":
    #!/usr/bin/env bash
    set -euo pipefail
    for target in $(cargo +nightly fuzz list --fuzz-dir fuzz); do
        mkdir -p fuzz/corpus/$target
        seeds=(fuzz/seeds/$target)
        # Components are too large to be kept twice.
        if [ $target = component ]; then seeds+=(plugins/review plugins/near-duplicates tests/plugins/hostile/curators); fi
        cargo +nightly fuzz run --fuzz-dir fuzz --sanitizer none $target fuzz/corpus/$target "${seeds[@]}" -- \
            -max_total_time={{seconds}} -timeout=10 -rss_limit_mb=2048
    done
