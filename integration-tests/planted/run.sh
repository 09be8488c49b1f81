#!/bin/sh
# Plants one bug at a time into a copy of the tree and looks whether the simulation finds it within SEEDS seeds.
#
#     run.sh TARGET_DIRECTORY [NAME...]     every bug of this folder, or those whose file begins with a name
#
# A bug is a patch of product code; its first lines say which rule it breaks and where that is stated. Ends with 1 where
# one is not found, does not apply or does not build: then an invariant or a fault is missing.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${1:?a target directory}
shift
mkdir -p "$target/planted/tree"
target=$(cd "$target/planted" && pwd)
seeds=${SEEDS:-10000}

# Written anew, so that nothing that was built with a bug counts as fresh.
(cd "$root" && git ls-files -z --cached --others --exclude-standard | tar cf - --null -T -) |
    tar xmf - -C "$target/tree" || exit 1
export CARGO_TARGET_DIR="$target/target" CARGO_INCREMENTAL=1
export SIMULATION_SEEDS="$seeds" SIMULATION_SHRINK=no
cd "$target/tree" || exit 1

# The binary is built along and not run: it need not be fast.
run() {
    ${CARGO:-cargo} test --quiet --workspace --test simulation \
        --config 'profile.dev.package.signalbox.opt-level=0' "$@"
}

missed=0
for patch in "$here"/*.patch; do
    name=$(basename "$patch" .patch)
    wanted=$#
    for prefix in "$@"; do
        case $name in "$prefix"*) wanted=0 ;; esac
    done
    [ "$wanted" -eq 0 ] || continue
    log="$target/$name.log"
    if ! patch --batch --fuzz=0 -p1 <"$patch" >"$log" 2>&1; then
        found="does not apply: see $log"
    elif ! run --no-run >"$log" 2>&1; then
        found="does not build: see $log"
    else
        run -- whatever_the_seed_every_story_holds --nocapture >"$log" 2>&1
        found=$(sed -n 's/^found: //p' "$log" | head -n 1)
    fi
    case $found in
    "seed "*) ;;
    *)
        missed=1
        found="NOT FOUND ${found:-within $seeds seeds: see $log}"
        ;;
    esac
    printf '| %s | %s |\n' "$name" "$found"
    patch --batch --reverse --fuzz=0 -p1 <"$patch" >/dev/null 2>&1
done
exit "$missed"
