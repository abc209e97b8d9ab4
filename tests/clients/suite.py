"""Starts the local runner, lets each client provision into a directory of its own, and compares the events that follow.

A client is a folder here: its packages, and `play.py`, which does with it what its users do with it. It ends with an
error if the client says that something failed. Clients that keep their errors to themselves show in the events.
"""

import dataclasses
import difflib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from runner import PROGRAM, Runner

# Seconds that a client may take, that its events may come after it, and that one too many is waited for.
PATIENCE = 120
ANNOUNCED = 20
SURPLUS = 1


@dataclasses.dataclass
class Client:
    """A client, and the events that follow from what its `play.py` does."""

    name: str
    # A user is called by the beginning of the userName; a group by its first name.
    events: list
    settings: dict = dataclasses.field(default_factory=dict)
    # What the users are called whose names are chosen by chance, in the order of their creation.
    users: tuple = ()


CLIENTS = [
    Client(
        "scim2-cli",
        [
            "user.created ann",
            "user.created bob",
            "group.created Sales",
            "group.user_added Sales: ann",
            "group.user_added Sales: bob",
            "group.user_removed Sales: ann",
            "group.updated Sales: displayName",
            "user.updated ann: title",
            "user.updated ann: not active",
            "user.updated bob: name.familyName",
            "group.deleted Sales",
            "group.user_removed Sales: bob",
            "user.deleted bob",
            "user.deleted ann",
        ],
    ),
    Client(
        "scim-client",
        [
            "user.created ann",
            "user.updated ann: displayName",
            "user.updated ann: not active",
            "user.deleted ann",
        ],
        # It sends nothing that the interoperability profile forbids.
        settings={"strict": True},
    ),
    Client(
        "scim-sim",
        [
            "user.created first",
            "user.created second",
            "group.created Sales",
            "group.user_added Sales: first",
            "group.user_added Sales: second",
            "group.user_removed Sales: first",
            "user.deleted first",
            "user.deleted second",
            "group.user_removed Sales: second",
            "group.deleted Sales",
        ],
        users=("first", "second"),
    ),
    Client(
        "canaille",
        [
            "user.created ann",
            "user.created bob",
            "group.created Sales",
            "group.user_added Sales: ann",
            "group.user_added Sales: bob",
            "user.updated ann: title",
            "group.user_removed Sales: bob",
            "user.updated ann: not active",
            "group.deleted Sales",
            "group.user_removed Sales: ann",
            "user.deleted bob",
            "user.deleted ann",
        ],
        # It refuses what RFC 7643 §5 does not have, and sends entity tags of its own where they are supported.
        settings={"discovery": "plain"},
    ),
]


def told(events, users):
    """What events say, one line each. The memberships of one change come in no order, and are sorted."""
    names, unnamed = {}, iter(users)
    lines = []
    for event in events:
        kind, detail = event["detail-type"], event["detail"]
        id, data = detail["resource"]["id"], detail["data"]
        if kind == "user.created":
            names[id] = next(unnamed, None) or data["user_name"].split("@")[0]
        elif kind == "group.created":
            names[id] = data["display_name"]
        line = f"{kind} {names.get(id, id)}"
        if "member" in detail:
            member = detail["member"]["id"]
            line += f": {names.get(member, member)}"
        elif "changed" in detail:
            ended = "active" in detail["changed"] and not data["active"]
            line += ": " + ", ".join("not active" if path == "active" and ended else path for path in detail["changed"])
        lines.append(((kind, id, detail["version"]), line))
    changes = itertools.groupby(lines, key=lambda line: line[0])
    return [line for _, change in changes for line in sorted(line for _, line in change)]


def announced(runner, directory, count):
    """The events of users and groups of a directory: so many, and a moment later more if there are."""

    def all_of_it():
        events = [event for event in runner.events if event["detail"]["directory_id"] == directory]
        return [event for event in events if not event["detail-type"].startswith("directory.")]

    until = time.monotonic() + ANNOUNCED
    while len(all_of_it()) < count and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(SURPLUS)
    return all_of_it()


def play(runner, client, venvs):
    """Lets a client do its work; answers what is wrong, if anything."""
    new = {
        "tenant": client.name,
        "product": "clients",
        "name": client.name,
        "provider": "generic-scim-v2",
        "settings": client.settings,
    }
    directory = runner.ask("POST", "/v1/directories", new, expect=(201,))
    environment = {**os.environ, "SCIM_BASE_URL": directory["base_url"], "SCIM_TOKEN": directory["token"]}
    python = venvs.absolute() / client.name / "bin" / "python"
    command = [python, HERE / client.name / "play.py"]
    try:
        played = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return f"{client.name} has not ended after {PATIENCE} s\n{(late.stdout or b'').decode(errors='replace')}"
    if played.returncode != 0:
        return f"{client.name} failed with exit code {played.returncode}\n{played.stdout}"
    lines = told(announced(runner, directory["id"], len(client.events)), client.users)
    if lines != client.events:
        difference = difflib.unified_diff(client.events, lines, "expected", "announced", lineterm="", n=99)
        said = [f"what {client.name} wrote:", played.stdout] if played.stdout else []
        return "\n".join([f"the events of {client.name} are not those expected:", *difference, *said])
    return None


def main():
    venvs = Path(sys.argv[1])
    runner = Runner(PROGRAM, ":memory:")
    wrong = []
    try:
        for client in CLIENTS:
            begun = time.monotonic()
            failure = play(runner, client, venvs)
            if failure:
                wrong.append(failure)
            state = "failed" if failure else f"{len(client.events)} events as expected"
            print(f"{client.name:12} {state}, after {time.monotonic() - begun:.0f} s", flush=True)
        if wrong:
            wrong.append(f"what the runner logged:\n{runner.errors()[-2000:]}")
    finally:
        runner.stop()
    for failure in wrong:
        print(f"\n{failure.rstrip()}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
