"""A webhook endpoint: verifies the signature (Standard Webhooks), and drops repetitions.

Reads the secret (whsec_...) from WEBHOOK_SECRET and the port from PORT (any free one by default). Prints the port, and
then a line for each event.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import time

# Seconds by which a delivery may differ from this clock. An older one may be a replay of a recorded delivery.
TOLERANCE = 300
KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))

# Replace this by a table with a time to live of a few days: the set is lost with the process.
seen = set()


def is_genuine(headers, body, now):
    """Returns whether one of the signatures of a delivery is right and the delivery is recent."""
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > TOLERANCE:
        return False
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256))
    # The header has several signatures, separated by blanks, while a secret is being replaced.
    signatures = (part.partition(",") for part in headers.get("webhook-signature", "").split())
    return any(scheme == "v1" and hmac.compare_digest(value.encode(), expected) for scheme, _, value in signatures)


class Endpoint(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not is_genuine(self.headers, body, time.time()):
            self.answer(401)
            return
        event = json.loads(body)
        if event["id"] not in seen:
            print(event["type"], flush=True)
            seen.add(event["id"])
        # Rollcall repeats a delivery that is not answered with 2xx within 10 seconds. Store the event, answer, and
        # work afterwards.
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 0))), Endpoint)
    print(server.server_port, flush=True)
    server.serve_forever()
