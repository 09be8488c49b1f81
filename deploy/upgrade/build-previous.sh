#!/bin/sh
# Builds the program of the release before into TARGET/upgrade/signalbox: the commit that the file `previous` beside this one
# names, in a work tree and a build directory of its own under TARGET. It changes nothing of the checkout.
#
# The build directory is apart because cargo tells packages by their place in the workspace: in a shared one it would take
# the other release's for its own. Dependencies that are built already are copied, not built again.
set -eu
target=${1:?usage: build-previous.sh TARGET}
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
commit=$(grep -v '^#' "$here/previous")
mkdir -p "$target/upgrade"
place=$(cd "$target/upgrade" && pwd)

if [ -x "$place/signalbox" ] && [ "$(cat "$place/built" 2>/dev/null)" = "$commit" ]; then
    exit 0
fi
if ! git -C "$checkout" cat-file -e "$commit^{commit}" 2>/dev/null; then
    echo "make upgrade: commit $commit of deploy/upgrade/previous is not here; fetch the whole history" >&2
    exit 1
fi
if [ -e "$place/source/.git" ]; then
    git -C "$place/source" checkout --quiet --detach --force "$commit"
else
    git -C "$checkout" worktree prune
    git -C "$checkout" worktree add --quiet --detach "$place/source" "$commit"
fi
if [ ! -d "$place/build" ] && [ -d "$target/debug/deps" ]; then
    mkdir -p "$place/build/debug"
    cp -a "$target/debug/deps" "$target/debug/build" "$target/debug/.fingerprint" "$place/build/debug/"
fi
# Files that are newer than everything built: nothing of this release is taken for the one before.
find "$place/source" -name '*.rs' -exec touch {} +
(cd "$place/source" && CARGO_TARGET_DIR="$place/build" cargo build --workspace --bins)
cp "$place/build/debug/signalbox" "$place/signalbox"
echo "$commit" > "$place/built"
