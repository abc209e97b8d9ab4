"""The local runner as a child process, for the checks that are written in Python."""

import http.client
import json
import os
import subprocess
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

# The program as the tests build it. `cargo run` would build it again: on its own the package has other features than
# within the workspace.
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).resolve().parents[1] / "target"), "debug", "rollcall")
SCIM = "application/scim+json"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
BULK_REQUEST = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
# How long an event of the log is held back, and a second.
HELD_BACK = 36


def patch(*operations):
    """The body of a PATCH."""
    return {"schemas": [PATCH_OP], "Operations": list(operations)}


class Runner:
    """A running version, on a port that it chooses itself."""

    def __init__(self, binary, data):
        self.name = binary.name
        command = [binary, "--listen", "127.0.0.1:0", "--data", data, "--json"]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, errors="replace")
        first = self.process.stdout.readline()
        assert first, f"{self.name} did not start: {self.errors()}"
        self.start = json.loads(first)
        # Everything that it has announced.
        self.events = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.connections = threading.local()

    def _read(self):
        for line in self.process.stdout:
            # The last line of a process that was killed may be incomplete.
            if line.endswith("\n"):
                self.events.append(json.loads(line))

    def errors(self):
        """What it has logged."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def stop(self):
        """Kills the process and waits until everything that it printed has been read."""
        self.process.kill()
        self.process.wait(timeout=30)
        self.reader.join(timeout=30)
        self.log.close()

    def send(self, method, path, body=None, timeout=60):
        """Sends a request to SCIM, or to the admin API below /v1; answers the status, the version and the JSON.

        An OSError or an HTTPException says that there was no answer.
        """
        v1 = path.startswith("/v1/")
        url = urllib.parse.urlsplit(self.start["url"] if v1 else self.start["base_url"])
        token = self.start["admin_key" if v1 else "token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json" if v1 else SCIM}
        connection = getattr(self.connections, "open", None)
        if connection is None:
            connection = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)
            self.connections.open = connection
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, url.path.rstrip("/") + path, content, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self.connections.open = None
            raise
        version = (answer.headers["ETag"] or "").strip('W/"')
        return answer.status, int(version) if version else None, json.loads(text) if text else None

    def ask(self, method, path, body=None, expect=(200, 204)):
        """As `send`, for a request that must succeed; answers the JSON."""
        status, _, answer = self.send(method, path, body)
        assert status in expect, f"{self.name}: {method} {path} is {status}: {answer}\n{self.errors()[-2000:]}"
        return answer

    def wait_for(self, count, what):
        """Waits until so many events that are `what` have been announced."""
        end = time.monotonic() + 30
        while True:
            found = [event for event in list(self.events) if what(event)]
            if len(found) >= count:
                return found
            assert time.monotonic() < end, f"{self.name}: {len(found)} of {count} events\n{self.errors()[-2000:]}"
            time.sleep(0.1)
