"""Starts the local runner, runs every check of scim2-tester against it, and says how each ended.

A check that is skipped or fails must be in EXPECTED with a reason; and what is in EXPECTED must happen, so that the
list never excuses what works by now.
"""

import collections
import random
import sys
import threading
from pathlib import Path

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from runner import PROGRAM, Runner

# Seconds that the suite may run.
PATIENCE = 300

# The suite fills resources with random values. With a seed they are the same each time, and with this one the user
# whose "active" is removed is active: that of a deactivated user cannot be, for it would let somebody in again.
SEED = 7644

GOOD = {Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE}

# What does not pass, as (check, resource type, part of the suite's reason): why not.
EXPECTED = {}


def results():
    """What the suite found, run against a runner of its own."""
    random.seed(SEED)
    runner = Runner(PROGRAM, ":memory:")
    watchdog = threading.Timer(PATIENCE, runner.process.kill)
    watchdog.start()
    try:
        # The slash makes it a folder, below which the client puts its paths.
        base_url, token = runner.start["base_url"] + "/", runner.start["token"]
        with Client(base_url=base_url, headers={"Authorization": f"Bearer {token}"}) as http:
            return check_server(SyncSCIMClient(http))
    finally:
        watchdog.cancel()
        runner.stop()


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
