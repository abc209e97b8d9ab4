"""Keeps a table of who may sign in, and ends the sessions of a user who was deactivated or deleted.

EventBridge delivers an event at least once and in no order. Each item has the version of the event that it was written
by, and an event with a lower version is ignored. An event with the same version is a repetition: the function handles it
again, since the first attempt may have failed after the write.
"""

import os

import boto3
from botocore.exceptions import ClientError

users = boto3.resource("dynamodb").Table(os.environ["USERS_TABLE"])


def handle(event, context):
    detail = event["detail"]
    user, version = detail["resource"]["id"], detail["version"]
    # `data` is missing in an event that was too large for EventBridge. The admin API has the user at `location` then;
    # this example reports the event as failed, so that it ends in the queue.
    active = event["detail-type"] != "user.deleted" and detail["data"]["active"]
    try:
        users.update_item(
            Key={"id": user},
            UpdateExpression="SET active = :active, version = :version, tenant = :tenant",
            ConditionExpression="attribute_not_exists(id) OR version <= :version",
            ExpressionAttributeValues={":active": active, ":version": version, ":tenant": detail["tenant"]},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return "stale"
    if not active:
        end_sessions(user)
    return "active" if active else "ended"


def end_sessions(user):
    """Replace this by the call that ends the sessions in your application. It must be idempotent."""
    print(f"the sessions of {user} ended")
