"""Reads a Dockerfile, and takes its steps with this machine as the base image, in an overlay of its root.

    python -m tests.installing.dockerfile ORDER.json

takes the steps and runs a container of the image, in a mount and a network namespace of their own; it needs root and
overlayfs. Known are the instructions that the project's Dockerfiles use, with the meaning that docker's reference has.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

USER = 12345
"""A user whom /etc/passwd does not have, as with `docker run --user`."""


class Instruction(NamedTuple):
    """A line of a Dockerfile: FROM, ARG, ..., and what is behind it, on one line."""

    name: str
    rest: str


def instructions(dockerfile: Path) -> list[Instruction]:
    """Return the instructions in their order."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.replace("\\\n", " ").splitlines()]
    return [Instruction(*line.split(" ", 1)) for line in lines if line]  # type: ignore[arg-type]


def arguments(steps: Sequence[Instruction], given: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the build arguments: those that are given, else their defaults."""
    pairs = [step.rest.partition("=") for step in steps if step.name == "ARG" and "=" in step.rest]
    return {**{name: default.strip('"') for name, _, default in pairs}, **given}


def kept(root: Path) -> list[str]:
    """Return the names in the checkout that .dockerignore, a list of exceptions, lets into an image."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "the first rule leaves everything out"
    return [rule[1:] for rule in rules if rule.startswith("!")]


def in_a_container(dockerfile: Path, context: Path, given: Mapping[str, str], command: Sequence[str]) -> Any:
    """Build, and run `command` as a user without a name; return the finished process, its output as text.

    `context` is the checkout, as .dockerignore leaves it.
    """
    order = {"dockerfile": str(dockerfile), "context": str(context), "given": given, "command": list(command)}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(order, file)
        file.flush()
        words = ["unshare", "-m", "-n", sys.executable, "-m", "tests.installing.dockerfile", file.name]
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _overlay() -> Path:
    base = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "overlay", str(base)], check=True)
    upper, work, root = (base / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
    options = f"lowerdir=/,upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True)
    for name in ("proc", "dev", "sys"):
        subprocess.run(["mount", "--rbind", f"/{name}", str(root / name)], check=True)
    return root


def _reachable(root: Path, path: Path) -> None:
    """Let every user go down to a path, as in an image."""
    for folder in path.parents:
        inside = root / folder.relative_to("/")
        inside.chmod(inside.stat().st_mode | 0o055)


def main(order_file: str) -> int:
    """Take the steps of the order, then its command; return the command's exit code."""
    order = json.loads(Path(order_file).read_text(encoding="utf-8"))
    steps, context, root = instructions(Path(order["dockerfile"])), Path(order["context"]), _overlay()
    values = arguments(steps, order["given"])
    for path in (Path(values["PYTHON"]), Path(os.path.realpath(values["PYTHON"])), context / "x"):
        _reachable(root, path)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root"}
    folder, entry = "/", [""]

    def run(words: Sequence[str], user: int, check: bool) -> int:
        chroot = [str(shutil.which("chroot")), f"--userspec={user}:{user}", "--groups=", str(root), "/bin/sh", "-c"]
        script = f'cd "{folder}" && exec "$@"'
        done = subprocess.run([*chroot, script, "sh", *words], env=environment, check=check)
        return done.returncode

    for step in steps:
        text = re.sub(r"\$\{(\w+)\}", lambda found: {**values, **environment}[found.group(1)], step.rest)
        if step.name == "ENV":
            environment.update(pair.split("=", 1) for pair in text.split(" "))
        elif step.name == "WORKDIR":
            folder = text
            (root / folder[1:]).mkdir(parents=True)
        elif step.name == "COPY":
            assert text == ". ."
            for source in (context / name for name in kept(context)):
                copy = shutil.copytree if source.is_dir() else shutil.copy
                copy(str(source), str(root / folder[1:] / source.name))
        elif step.name == "RUN":
            run(["/bin/sh", "-c", step.rest], user=0, check=True)
        elif step.name == "ENTRYPOINT":
            entry = json.loads(text)
        else:
            assert step.name in ("FROM", "ARG", "USER", "VOLUME", "CMD"), step
    environment["HOME"] = "/"  # docker's, for a user without a name
    return run([*entry, *order["command"]], user=USER, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
