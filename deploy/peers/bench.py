#!/usr/bin/env python3
"""Measures Signalbox, Restate and a consumer written by hand on the same work, one after the other, and prints ratios.

    bench.py --signalbox FILE --peers FILE --restate-server FILE [--flows N]
    bench.py --table < LINES        only the table, of lines that were measured before

Every one of them starts from nothing on parts of its own, which are gone when it has ended; docs/performance.md says
what each does. It measures nothing itself and judges no figure.
"""

import argparse
import json
import os
import subprocess
import sys

OURS = "signalbox"
# The process that asks and reads endings: it is none of what is compared.
LOAD = "load"
# Flows under way at once, of all flows: as many as `signalbox bench` has by default, fewer where there are few flows.
IN_FLIGHT_MAX, IN_FLIGHT_SHARE = 4_000, 5


def main():
    arguments = read_arguments()
    if arguments.table:
        print(table([json.loads(line) for line in sys.stdin if line.strip()]))
        return
    flows = arguments.flows
    load = ["--flows", str(flows), "--in-flight", str(min(IN_FLIGHT_MAX, flows // IN_FLIGHT_SHARE))]
    measured = []
    for measure in (signalbox, restate, by_hand("single"), by_hand("batched")):
        line = measure(arguments, load)
        print(json.dumps(line), flush=True)
        measured.append(line)
    print(table(measured))


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="read lines of JSON and print their table")
    parser.add_argument("--signalbox", metavar="FILE", help="program of Signalbox, a release build")
    parser.add_argument("--peers", metavar="FILE", help="program of integration-tests/peers, a release build")
    # Absolute, as the server is started in a directory of its own.
    parser.add_argument("--restate-server", metavar="FILE", type=os.path.abspath, help="program of Restate's server")
    parser.add_argument("--flows", metavar="N", type=int, default=20_000, help="flows of each throughput run")
    arguments = parser.parse_args()
    if not arguments.table and not (arguments.signalbox and arguments.peers and arguments.restate_server):
        parser.error("--signalbox, --peers and --restate-server are needed to measure")
    return arguments


def signalbox(arguments, load):
    return {"name": OURS} | last_line([arguments.signalbox, "bench", "--json", *load])


def restate(arguments, load):
    return last_line([arguments.peers, "restate", "--server", arguments.restate_server, *load])


def by_hand(style):
    def measure(arguments, load):
        command = [arguments.signalbox, "dev", "--parts-only", "--json", "--until-stdin-closes"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parts:
            line = parts.stdout.readline()
            if not line:
                sys.exit("bench.py: the parts did not start; see what `signalbox dev` said above")
            found = json.loads(line)
            return last_line([
                arguments.peers, "handwritten", "--style", style,
                "--kafka", found["kafka"], "--kafka-pid", str(found["pids"]["kafka"]),
                "--postgres", found["postgres"], "--postgres-pid", str(found["pids"]["postgres"]), *load])
    return measure


def last_line(command):
    """What a program printed last, as JSON. The rest goes where people read it."""
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    *before, last = ended.stdout.splitlines() or [""]
    print("\n".join(before), file=sys.stderr)
    if ended.returncode != 0:
        sys.exit(f"bench.py: {command[0]} {command[1]} ended with {ended.returncode}: {last}")
    return json.loads(last)


def table(measured):
    """One row each; ratios above 1 are in our favour."""
    ours = next((line for line in measured if line["name"] == OURS), None)
    if ours is None:
        sys.exit(f"bench.py: no line is named {OURS}; there is nothing to compare with")
    rows = [("", "flows/s", "ours/theirs", "CPU ms/flow", "theirs/ours", "p50 ms", "p99 ms")]
    for line in measured:
        rows.append((
            line["name"],
            f"{line['flows_per_s']:.0f}",
            f"{ours['flows_per_s'] / line['flows_per_s']:.2f}",
            f"{cpu(line):.3f}",
            f"{cpu(line) / cpu(ours):.2f}",
            f"{line['p50_ms']:.1f}",
            f"{line['p99_ms']:.1f}",
        ))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"{row[0]:<{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:]))
             for row in rows]
    parts = [f"  {line['name']}: " + ", ".join(f"{part} {time:.3f}" for part, time in line["cpu_ms_per_flow"].items())
             for line in measured]
    return "\n".join([*lines, "", "CPU ms per flow by process; the load is in no sum:", *parts])


def cpu(line):
    """Milliseconds per flow, without those of the load."""
    return sum(time for part, time in line["cpu_ms_per_flow"].items() if part != LOAD)


if __name__ == "__main__":
    main()
