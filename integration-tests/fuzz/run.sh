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

# The tests that the loop below is at, by cargo.
suite() {
    $cargo test --quiet --profile dev --target "$host" --target-dir "$target/target" \
        --manifest-path "$here/Cargo.toml" --package "$package" "$tests" "$@" </dev/null
}

asked=" $* "
is_asked() {
    case $asked in
    '  ' | *" $1 "*) ;;
    *) return 1 ;;
    esac
}

# search SURFACE: ends with 1 where it breaks, or where there is no such test.
search() (
    corpus=$target/corpus/$1
    found=$target/found/$1
    log=$target/$1.log
    mkdir -p "$corpus" "$found"
    export BOLERO_DRIVER=libfuzzer BOLERO_LIBTEST_HARNESS=1 BOLERO_TEST_NAME="$1"
    export BOLERO_LIBFUZZER_ARGS="$corpus -artifact_prefix=$found/ -timeout=20 -max_len=4096 \
-max_total_time=${SECONDS_EACH:-60}"
    suite -- "$1" --exact --nocapture --test-threads 1 >"$log" 2>&1
    ended=$?
    told=$(sed -n 's/^#[0-9]*[[:space:]]*DONE */held: /p' "$log" | tail -n 1)
    if [ "$ended" -eq 0 ] && [ -n "$told" ]; then
        printf '%s\t%s\n' "$1" "$told"
    else
        printf '%s\tBROKEN, see %s and %s\n' "$1" "$log" "$found"
        return 1
    fi
)

# A package, its tests, and the one of them that is a surface; all are where none is named.
broken=0
while read -r package tests surface; do
    # What is not asked for is not built, either.
    [ -z "$surface" ] || is_asked "$surface" || continue
    suite --no-run || exit 1
    for surface in ${surface:-$(suite -- --list | sed -n 's/: test$//p')}; do
        ! is_asked "$surface" || search "$surface" || broken=1
    done
done <<'SUITES'
signalbox-fuzz --test=surfaces
signalbox-adapters --lib vendors::harness::whatever_a_vendor_sends_comes_to_an_answer_in_the_contract_s_words
signalbox --lib config::tests::whatever_the_file_says_is_read_or_refused_and_no_secret_is_told
SUITES
exit "$broken"
