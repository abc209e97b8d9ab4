"""Provisions by the commands of scim-sim. It creates users by chance, and can neither change nor deactivate one."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SCIM_SIM = Path(sys.executable).with_name("scim-sim")
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def main():
    with tempfile.TemporaryDirectory() as home:

        def scim_sim(*arguments, answers=""):
            """Runs a command; answers what it prints. Its exit code is 0 even if it failed."""
            done = subprocess.run(
                [SCIM_SIM, *arguments],
                # Where it keeps its configuration.
                env={**os.environ, "HOME": home, "PYTHONIOENCODING": "utf-8"},
                input=answers,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                check=False,
            )
            if done.returncode != 0 or "❌" in done.stdout:
                sys.exit(f"scim-sim {arguments[0]} failed: {done.stdout}")
            return done.stdout

        def made(*arguments):
            """Runs a command that creates something; answers the id."""
            return ID.search(scim_sim(*arguments)).group()

        scim_sim("setup", answers=f"{os.environ['SCIM_BASE_URL']}\n{os.environ['SCIM_TOKEN']}\n")
        first = made("add-user")
        second = made("add-user")
        sales = made("create-group", "Sales")
        scim_sim("add-to-group", first, sales)
        scim_sim("add-to-group", second, sales)
        scim_sim("remove-from-group", first, sales)
        shown = scim_sim("show")
        if not all(id in shown for id in (first, second, sales)):
            sys.exit(f"somebody is missing:\n{shown}")
        scim_sim("remove-user", first)
        # It deletes the members first.
        scim_sim("delete-group", sales)


if __name__ == "__main__":
    main()
