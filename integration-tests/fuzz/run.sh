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

# Where surfaces are: a package and its tests, and of these the names that are surfaces.
suites() {
    cat <<-'SUITES'
	signalbox-fuzz --test=surfaces .
	signalbox-adapters --lib vendors::harness::whatever_a_vendor_sends_
	signalbox --lib config::tests::whatever_the_file_says_
	SUITES
}

# The tests of a package, by cargo.
tests() {
    package=$1 tests=$2
    shift 2
    $cargo test --quiet --profile dev --target "$host" --target-dir "$target/target" \
        --manifest-path "$here/Cargo.toml" --package "$package" "$tests" "$@" </dev/null
}

# search PACKAGE TESTS SURFACE: ends with 1 where it breaks.
search() {
    corpus=$target/corpus/$3
    found=$target/found/$3
    log=$target/$3.log
    mkdir -p "$corpus" "$found"
    BOLERO_DRIVER=libfuzzer BOLERO_LIBTEST_HARNESS=1 BOLERO_TEST_NAME=$3 \
        BOLERO_LIBFUZZER_ARGS="$corpus -artifact_prefix=$found/ -timeout=20 -max_len=4096 \
-max_total_time=${SECONDS_EACH:-60}" \
        tests "$1" "$2" -- "$3" --exact --nocapture --test-threads 1 >"$log" 2>&1
    ended=$?
    told=$(sed -n 's/^#[0-9]*[[:space:]]*DONE */held: /p' "$log" | tail -n 1)
    if [ "$ended" -eq 0 ] && [ -n "$told" ]; then
        printf '%s\t%s\n' "$3" "$told"
    else
        printf '%s\tBROKEN, see %s and %s\n' "$3" "$log" "$found"
        return 1
    fi
}

broken=0
suites >"$target/suites"
while read -r package tests names; do
    tests "$package" "$tests" --no-run || exit 1
    for surface in $(tests "$package" "$tests" -- --list | sed -n 's/: test$//p' | grep "^$names"); do
        case " ${*:-$surface} " in
        *" $surface "*) search "$package" "$tests" "$surface" || broken=1 ;;
        esac
    done
done <"$target/suites"
exit "$broken"
