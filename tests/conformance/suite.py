"""Starts the local runner, runs every check of scim2-tester against it, and says how each ended.

A check that is skipped or fails must be in EXPECTED with a reason; and what is in EXPECTED must happen, so that the
list never excuses what works by now.
"""

import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

# The program as tests/conformance/run builds it. `cargo run` would build it again: on its own the package has other
# features than within the workspace.
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"), "debug", "rollcall")
RUNNER = [PROGRAM, "--listen", "127.0.0.1:0", "--data", ":memory:", "--json"]

# Seconds that the runner may take to start, and the suite to run.
START = 60
PATIENCE = 300

# The suite fills resources with random values. With a seed they are the same each time, and with this one the user
# whose "active" is removed is active: that of a deactivated user cannot be, for it would let somebody in again.
SEED = 7644

GOOD = {Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE}

# What does not pass, as (check, resource type, part of the suite's reason): why not.
EXPECTED = {}


def start(output):
    """The runner's process, and the first line that it writes."""
    runner = subprocess.Popen(RUNNER, stdout=output)
    until = time.monotonic() + START
    while time.monotonic() < until and runner.poll() is None:
        with open(output.name, encoding="utf-8") as written:
            line = written.readline()
        if line.endswith("\n"):
            return runner, json.loads(line)
        time.sleep(0.1)
    status = runner.poll()
    runner.kill()
    sys.exit("the runner did not start: " + (f"nothing for {START} s" if status is None else f"exit code {status}"))


def stop(runner):
    runner.send_signal(signal.SIGTERM)
    try:
        runner.wait(timeout=40)
    except subprocess.TimeoutExpired:
        runner.kill()
        sys.exit("the runner did not stop")


def results():
    """What the suite found, run against a runner of its own."""
    random.seed(SEED)
    with tempfile.NamedTemporaryFile() as output:
        runner, first = start(output)
        watchdog = threading.Timer(PATIENCE, runner.kill)
        watchdog.start()
        try:
            # The slash makes it a folder, below which the client puts its paths.
            http = Client(base_url=first["base_url"] + "/", headers={"Authorization": f"Bearer {first['token']}"})
            with http:
                return check_server(SyncSCIMClient(http))
        finally:
            watchdog.cancel()
            stop(runner)


def expectation(result):
    """The entry of EXPECTED for a result that is not good."""
    for entry in EXPECTED:
        title, resource_type, reason = entry
        if (title, resource_type) == (result.title, result.resource_type) and reason in (result.reason or ""):
            return entry
    return None


def main():
    found = results()
    table = collections.defaultdict(collections.Counter)
    unexpected, met = [], set()
    for result in found:
        kind = "passed" if result.status in GOOD else "skipped" if result.status is Status.SKIPPED else "failed"
        table[result.title, result.resource_type or "-"][kind] += 1
        if kind != "passed":
            entry = expectation(result)
            met.add(entry)
            if entry is None:
                unexpected.append(f"{kind}: {result.title} of {result.resource_type or '-'}: {result.reason}\n  {result.data}")

    kinds = ["passed", "failed", "skipped"]
    print(f"{'check':48} {'resource type':14}" + "".join(f"{kind:>9}" for kind in kinds))
    for (title, resource_type), counts in table.items():
        print(f"{title:48} {resource_type:14}" + "".join(f"{counts[kind] or '':>9}" for kind in kinds))
    total = sum(table.values(), collections.Counter())
    print(f"{'all of it':63}" + "".join(f"{total[kind]:>9}" for kind in kinds))

    for (title, resource_type, _), why in EXPECTED.items():
        print(f"\nexpected: {title} of {resource_type or '-'}: {why}")
    for line in unexpected:
        print(f"\n{line}", file=sys.stderr)
    stale = [entry for entry in EXPECTED if entry not in met]
    for entry in stale:
        print(f"\nin EXPECTED, but it passes: {entry}", file=sys.stderr)
    return 1 if unexpected or stale or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
