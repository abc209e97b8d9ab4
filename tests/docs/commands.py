"""Runs the commands of README.md and docs/, and checks the links in all Markdown files.

    ```sh run      runs in one shell, in an empty directory: README.md first, then docs/ by name. Exit code 0 is required.
    ```text output belongs to the block before it: each of its lines must be in what the block printed, in this order.
                   `…` stands for any text.
    ```sh          is only checked for syntax, as it needs an AWS account, a build, or minutes.

Relative links must lead to a file and a heading, and a path in backquotes to a file.

`cargo run` is the program that is built already, on a port that is free. `--static` runs no command.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from runner import PROGRAM

ROOT = Path(__file__).resolve().parents[2]
# How long all commands together may take, in seconds.
LONGEST = 120
# Takes the place of cargo: the local stack gets a free port, a command the stack that runs.
CARGO = f"""#!/usr/bin/env bash
[ "$1" = run ] || {{ echo "only cargo run is known here: cargo $*" >&2; exit 2; }}
shift
[ "$1" = --quiet ] && shift
[ "$1" = -- ] && shift
case "${{1:-}}" in
  "" | --*) exec {PROGRAM} --listen 127.0.0.1:0 "$@" ;;
  *) exec {PROGRAM} "$@" ;;
esac
"""
FENCE = re.compile(r"^ *(```+) *(.*?)\s*$")
PATH = re.compile(r"`((?:\.ci|\.github|docs|functions|infra|shared|tests)/[\w./-]+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*?)\s*#*$")
ANCHOR = re.compile(r'<a id="([^"]+)">')


def files():
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).splitlines()
    return [ROOT / name for name in sorted(names) if (ROOT / name).is_file()]


def blocks(path):
    """The fenced blocks of a file: the line of the fence, its info string, the text."""
    fence = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = FENCE.match(line)
        if fence is None and found:
            fence, info, begun, text = found[1], found[2], number, []
        elif fence is not None and line.strip() == fence:
            yield begun, info, "\n".join(text)
            fence = None
        elif fence is not None:
            text.append(line)


def prose(path):
    """The lines outside of fenced blocks, with their numbers."""
    inside = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = FENCE.match(line)
        if inside is None and found:
            inside = found[1]
        elif inside is not None:
            inside = None if line.strip() == inside else inside
        else:
            yield number, line


def anchors(path):
    """The names to which a link into a file may lead, as GitHub makes them of headings."""
    names = set()
    for _, line in prose(path):
        names.update(ANCHOR.findall(line))
        heading = HEADING.match(line)
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            names.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return names


def wrong_links(path):
    for number, line in prose(path):
        for name in PATH.findall(line):
            if not (ROOT / name).exists():
                yield f"{path.relative_to(ROOT)}:{number}: {name}: there is no such file"
        for link in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = link.partition("#")
            file = (path.parent / urllib.parse.unquote(target)).resolve() if target else path
            if not file.exists():
                yield f"{path.relative_to(ROOT)}:{number}: {link}: there is no such file"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                yield f"{path.relative_to(ROOT)}:{number}: {link}: there is no such heading"


def wrong_syntax(path):
    for number, info, text in blocks(path):
        if info.split()[:1] == ["sh"]:
            checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
            if checked.returncode:
                yield f"{path.relative_to(ROOT)}:{number}: {checked.stderr.strip()}"


def to_run():
    """The blocks that are run, each with the lines that it must print."""
    order = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = []
    for path in order:
        before = None
        for number, info, text in blocks(path):
            if info == "text output":
                assert before is not None, f"{path}:{number}: the block before it is not run"
                before[2].extend(text.splitlines())
            elif info == "sh run":
                before = (f"{path.relative_to(ROOT)}:{number}", text, [])
                found.append(before)
            else:
                before = None
    return found


def missing(expected, printed):
    """The first expected line that is not among the printed ones, in their order."""
    lines = iter(printed.splitlines())
    for line in expected:
        pattern = re.compile(".*".join(map(re.escape, line.strip().split("…"))))
        if not any(pattern.fullmatch(other.strip()) for other in lines):
            return line
    return None


def run(found):
    """Runs the blocks in one shell; what is wrong with the first one that fails."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        cargo = here / "bin" / "cargo"
        cargo.parent.mkdir()
        cargo.write_text(CARGO)
        cargo.chmod(0o755)
        (here / "empty").mkdir()
        script = ["set -eo pipefail"]
        for index, (_, text, _) in enumerate(found):
            script += [f"exec > {here}/{index}.out 2> {here}/{index}.err", text]
        (here / "script").write_text("\n".join([*script, f"touch {here}/done", ""]))
        environment = {**os.environ, "PATH": f"{cargo.parent}:{os.environ['PATH']}"}
        for name in [name for name in environment if name.startswith("ROLLCALL_")]:
            del environment[name]
        shell = subprocess.Popen(
            ["bash", here / "script"], cwd=here / "empty", env=environment, start_new_session=True, stdin=subprocess.DEVNULL
        )
        try:
            ended = f"exit code {shell.wait(timeout=LONGEST)}"
        except subprocess.TimeoutExpired:
            ended = f"it did not end within {LONGEST} s"
        finally:
            # The shell and all that it started.
            try:
                os.killpg(shell.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            shell.wait()
        done = (here / "done").exists()
        for index, (place, _, expected) in enumerate(found):
            printed, errors = here / f"{index}.out", here / f"{index}.err"
            said = printed.read_text(errors="replace") if printed.exists() else ""
            line = missing(expected, said)
            failed = not done and not (here / f"{index + 1}.out").exists()
            if line is None and not failed:
                continue
            why = ended if failed else f"it does not print: {line}"
            return f"{place}: {why}\n{said[-2000:]}{errors.read_text(errors='replace')[-2000:]}"
    return None


def main() -> int:
    wrong = [line for path in files() for check in (wrong_links, wrong_syntax) for line in check(path)]
    found = to_run()
    assert found, "no block is marked to be run"
    if "--static" not in sys.argv[1:] and not wrong:
        failed = run(found)
        wrong += [failed] if failed else []
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        print(f"{len(found)} blocks of commands in {len({place.split(':')[0] for place, _, _ in found})} files")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
