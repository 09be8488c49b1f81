#!/bin/sh
# Checks the programs that Signalbox needs on this machine, and installs what is missing where it
# can: as root, on Debian and its kin. Elsewhere it names all that is missing in one message, with
# the command that installs it, and fails. It changes nothing when everything is there.
#
#   prerequisites.sh build   what `make` needs: to build, to run the local stack, to test
#   prerequisites.sh run     what the local stack alone needs
#   prerequisites.sh peers   what `make bench-peers` needs: the same as build, and npm
#
# engine/signalbox/src/local/programs.rs looks in the same places.
set -eu

purpose=${1:-build}
missing=''    # names, one per line
packages=''   # Debian packages that bring them
by_hand=''    # what no package brings, one line each

say() { echo "prerequisites: $*" >&2; }

has() { command -v "$1" >/dev/null 2>&1; }

# The first of the given packages that this machine's package lists know, or else the last one.
known_package() {
    for package in "$@"; do
        if has apt-cache && apt-cache show "$package" >/dev/null 2>&1; then break; fi
    done
    echo "$package"
}

lacks() { # NAME PACKAGE...
    missing="$missing  $1
"
    shift
    packages="$packages $(known_package "$@")"
}

has_java() {
    has java || return 1
    # `openjdk version "17.0.15" 2025-04-15`: the number before the first dot.
    major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 17 ]
}

has_postgres_server() { # DIRECTORY
    [ -x "$1/initdb" ] && [ -x "$1/postgres" ] && [ -x "$1/createdb" ]
}

has_postgres() {
    if [ -n "${PG_BIN:-}" ]; then
        has_postgres_server "$PG_BIN"
        return
    fi
    for directory in /usr/lib/postgresql/*/bin; do
        major=$(basename "$(dirname "$directory")")
        case $major in *[!0-9]*) continue ;; esac
        if [ "$major" -ge 15 ] && has_postgres_server "$directory"; then return 0; fi
    done
    has pg_config && has_postgres_server "$(pg_config --bindir)"
}

# OpenSSL is built from source by a script that uses modules which a minimal perl lacks.
has_perl() { has perl && perl -MFindBin -MIPC::Cmd -MFile::Compare -MFile::Copy -e 1 2>/dev/null; }

# Of the package prometheus only this program is wanted, not the service that it starts.
wants_promtool() {
    if has apt-get && has dpkg-deb && [ "$(id -u)" -eq 0 ]; then
        without_promtool=yes
    else
        by_hand="$by_hand  promtool: it is in Debian's package prometheus and in Prometheus' own archive
"
    fi
}

bring_promtool() {
    folder=$(mktemp -d)
    (
        cd "$folder" &&
            apt-get -q download prometheus >&2 &&
            dpkg-deb -x prometheus_*.deb . &&
            install -m 755 usr/bin/promtool /usr/local/bin/promtool
    ) || say 'promtool could not be installed'
    rm -rf "$folder"
}

look() {
    without_promtool=no
    missing='' packages='' by_hand=''
    has setpriv || lacks 'setpriv (util-linux)' util-linux
    has_java || lacks 'java (version 17 or newer)' openjdk-17-jre-headless default-jre-headless
    has mvn || lacks 'mvn (Maven)' maven
    if ! has_postgres; then
        if [ -n "${PG_BIN:-}" ]; then
            by_hand="$by_hand  PG_BIN=$PG_BIN holds no initdb, postgres and createdb: correct it or unset it
"
        else
            lacks 'PostgreSQL server programs (version 15 or newer)' postgresql-15 postgresql
        fi
    fi
    [ "$purpose" != run ] || return 0
    has cc && has c++ && has make || lacks 'C and C++ compiler, make' build-essential
    has_perl || lacks 'perl with its standard modules' perl
    has python3 || lacks 'python3' python3
    [ "$purpose" != peers ] || has npm || lacks npm npm
    has promtool || wants_promtool
    has cargo || by_hand="$by_hand  cargo (Rust): install it with rustup, see https://rustup.rs
"
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >&2
}

# The server package starts a cluster of its own unless it is told not to. Ours is private, so it is
# told for the time of this installation; what was set before is put back.
install_without_cluster() {
    apt install --no-install-recommends postgresql-common || return 1
    settings=/etc/postgresql-common/createcluster.conf
    before=$(mktemp)
    [ ! -f "$settings" ] || cp -p "$settings" "$before"
    echo 'create_main_cluster = false' >>"$settings"
    installed=yes
    apt install --no-install-recommends $packages || installed=no
    if [ -s "$before" ]; then cp -p "$before" "$settings"; else rm -f "$settings"; fi
    rm -f "$before"
    [ $installed = yes ]
}

install_packages() {
    say "installing$packages"
    apt update || return 1
    look # The lists may know other packages now.
    case $packages in
    *postgresql*) install_without_cluster ;;
    *) apt install --no-install-recommends $packages ;;
    esac
}

complain() {
    {
        echo 'Signalbox needs programs that this machine lacks:'
        printf '%s' "$missing$by_hand"
        if [ -n "$packages" ] && has apt-get; then
            echo "Install them with: sudo apt-get update && sudo apt-get install -y$packages"
        elif [ -n "$packages" ]; then
            echo "Install them with this machine's package manager; on Debian they are:$packages"
        fi
    } >&2
    exit 1
}

case $purpose in
build | run | peers) ;;
*)
    echo "usage: prerequisites.sh [build|run|peers]" >&2
    exit 2
    ;;
esac

look
if [ -n "$packages" ] && has apt-get && [ "$(id -u)" -eq 0 ]; then
    install_packages || say 'the installation failed'
    look
fi
if [ "$without_promtool" = yes ]; then
    say 'installing promtool'
    apt update && bring_promtool
    has promtool || by_hand="$by_hand  promtool: it is in Debian's package prometheus and in Prometheus' own archive
"
fi
[ -z "$missing$by_hand" ] || complain
