"""Validates the OpenAPI document that the local runner serves, generates a client from it, and lets that client create a
directory, read its users and handle an error."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from openapi_spec_validator import validate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from runner import PROGRAM, SCIM, USER, Runner


def document(runner):
    """Returns the OpenAPI document."""
    request = urllib.request.Request(
        runner.start["url"] + "/v1/openapi.json", headers={"Authorization": f"Bearer {runner.start['admin_key']}"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def check_document(found):
    """Checks that the document is valid and describes what a reader needs."""
    validate(found)
    assert found["servers"], "no servers"
    operations = [
        (method, path, operation) for path, methods in found["paths"].items() for method, operation in methods.items()
    ]
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(set(ids)) == len(ids), f"operation ids repeat: {sorted(ids)}"
    for method, path, operation in operations:
        assert operation.get("summary"), f"{method} {path} has no summary"
        responses = operation["responses"]
        for status in ("400", "401", "403", "404", "429", "default"):
            problem = responses[status]["content"]["application/problem+json"]
            assert problem["schema"]["$ref"] == "#/components/schemas/Problem", f"{method} {path} {status}"
    schemas = found["components"]["schemas"]
    assert "example" in json.dumps(schemas["NewDirectory"]), "NewDirectory has no example"
    return len(operations)


def generate(found, folder):
    """Generates the client, and returns where its package is. A warning is an error: what is left out of the client is missing."""
    path = folder / "openapi.json"
    path.write_text(json.dumps(found))
    programs = Path(sys.executable).parent
    command = [programs / "openapi-python-client", "generate", "--path", path, "--output-path", folder / "client"]
    command += ["--meta", "none", "--fail-on-warning"]
    # The generator formats the client with ruff, which it finds by PATH.
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(command, check=True, timeout=300, env=environment, stdout=subprocess.DEVNULL)
    return folder


def use(runner):
    """Creates a directory with the generated client, and reads the users that SCIM created in it."""
    from client import AuthenticatedClient
    from client.api.directories import create_directory, show_directory
    from client.api.users_and_groups import list_users
    from client.models import NewDirectory, Problem

    api = AuthenticatedClient(base_url=runner.start["url"], token=runner.start["admin_key"])
    new = NewDirectory.from_dict({"tenant": "acme", "product": "crm", "name": "Acme", "provider": "okta-scim-v2"})
    directory = create_directory.sync(client=api, body=new)
    assert (directory.name, directory.status) == ("Acme", "active"), directory
    assert directory.settings.discovery == "full", directory.settings

    names = ["ann@example.com", "bob@example.com", "eve@example.com"]
    for name in names:
        body = json.dumps({"schemas": [USER], "userName": name}).encode()
        headers = {"Authorization": f"Bearer {directory.token}", "Content-Type": SCIM}
        urllib.request.urlopen(urllib.request.Request(directory.base_url + "/Users", body, headers), timeout=30).close()
    read, cursor = [], None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        page = list_users.sync(directory.id, client=api, limit=2, **more)
        read += [user.user_name for user in page.data]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(read) == names, read

    missing = show_directory.sync("00000000-0000-4000-8000-000000000000", client=api)
    assert isinstance(missing, Problem) and missing.status == 404, missing
    return len(read)


def main():
    runner = Runner(PROGRAM, ":memory:")
    try:
        found = document(runner)
        operations = check_document(found)
        with tempfile.TemporaryDirectory() as folder:
            sys.path.insert(0, str(generate(found, Path(folder))))
            users = use(runner)
    finally:
        runner.stop()
    print(f"openapi: {operations} operations are valid; a generated client created a directory and read {users} users")


main()
