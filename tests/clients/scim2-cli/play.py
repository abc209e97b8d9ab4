"""Provisions by the commands of scim2-cli, which reads the schemas of the service provider before each of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCIM = Path(sys.executable).with_name("scim")
ENVIRONMENT = {
    **os.environ,
    "SCIM_CLI_URL": os.environ["SCIM_BASE_URL"],
    "SCIM_CLI_HEADERS": f"Authorization: Bearer {os.environ['SCIM_TOKEN']}",
}


def scim(*arguments):
    """Runs a command; answers the JSON that it prints."""
    done = subprocess.run([SCIM, *arguments], env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"scim {arguments[0]} {arguments[1]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def main():
    ann = scim(
        *("create", "user", "--user-name", "ann@example.com", "--active", "true"),
        *("--name", json.dumps({"givenName": "Ann", "familyName": "Archer"})),
        *("--emails", json.dumps([{"value": "ann@example.com", "type": "work", "primary": True}])),
        # Named after the schema, as its name has no blank.
        *("--enterpriseuser", json.dumps({"department": "Sales", "employeeNumber": "7"})),
    )["id"]
    bob = scim(
        *("create", "user", "--user-name", "bob@example.com", "--external-id", "bob"),
        *("--name", json.dumps({"givenName": "Bob", "familyName": "Baker"})),
    )["id"]
    sales = scim("create", "group", "--display-name", "Sales", "--members", json.dumps([{"value": ann}]))["id"]
    scim("modify", "group", sales, "add", "members", json.dumps([{"value": bob}]))
    scim("modify", "group", sales, "remove", f'members[value eq "{ann}"]')
    scim("modify", "group", sales, "replace", "displayName", "Sales EMEA")
    scim("modify", "user", ann, "replace", "title", "Lead")
    scim("modify", "user", ann, "replace", "active", "false")
    scim(
        *("replace", "user", "--id", bob, "--user-name", "bob@example.com", "--external-id", "bob"),
        *("--name", json.dumps({"givenName": "Bob", "familyName": "Butcher"})),
    )
    found = scim("search", "--filter", 'userName eq "ann@example.com"')
    if [user["id"] for user in found["Resources"]] != [ann]:
        sys.exit(f"the search for ann found {found}")
    if scim("query", "user", ann)["active"]:
        sys.exit("ann is active after she was deactivated")
    scim("delete", "group", sales)
    scim("delete", "user", bob)
    scim("delete", "user", ann)


if __name__ == "__main__":
    main()
