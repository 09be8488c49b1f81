#!/bin/sh
# Searches every surface guided by coverage (libFuzzer). What it finds worth keeping stays in the target directory and is where
# the next run begins.
#
#     run.sh TARGET_DIRECTORY [SURFACE...]     SECONDS_EACH for each surface, 60 unless told
#
# Ends with 1 where a surface breaks: the input is in TARGET_DIRECTORY/fuzz/found, and a test of the surface's own is to hold it.
set -u

here=$(cd "$(dirname "$0")" && pwd)
target=${1:?a target directory}
shift
mkdir -p "$target/fuzz"
target=$(cd "$target/fuzz" && pwd)
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')

# What `cargo bolero` sets, without its other targets. A target is named so that build scripts are left alone.
export RUSTC_BOOTSTRAP=1 BOLERO_FUZZER=libfuzzer
llvm='-Cllvm-args=-sanitizer-coverage'
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module --cfg fuzzing_libfuzzer $llvm-inline-8bit-counters $llvm-level=4 \
$llvm-pc-table $llvm-trace-compares $llvm-stack-depth"
surfaces() {
    $cargo test --quiet --profile dev --target "$host" --target-dir "$target/target" \
        --manifest-path "$here/Cargo.toml" --package signalbox-fuzz --test surfaces "$@"
}

surfaces --no-run || exit 1
[ $# -gt 0 ] || set -- $(surfaces -- --list | sed -n 's/: test$//p')
broken=0
export BOLERO_DRIVER=libfuzzer BOLERO_LIBTEST_HARNESS=1
for surface in "$@"; do
    corpus=$target/corpus/$surface
    found=$target/found/$surface
    log=$target/$surface.log
    mkdir -p "$corpus" "$found"
    export BOLERO_TEST_NAME="$surface"
    export BOLERO_LIBFUZZER_ARGS="$corpus -artifact_prefix=$found/ -timeout=20 -max_len=4096 \
-max_total_time=${SECONDS_EACH:-60}"
    if surfaces -- "$surface" --exact --nocapture --test-threads 1 >"$log" 2>&1; then
        told=$(sed -n 's/^#[0-9]*[[:space:]]*DONE */held: /p' "$log" | tail -n 1)
    else
        broken=1
        told="BROKEN, see $log and $found"
    fi
    printf '%s\t%s\n' "$surface" "$told"
done
exit "$broken"
