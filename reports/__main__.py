"""`python -m reports COMMAND`: what can be made of stored runs - a vendor's table, pages to look at, the history."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Sequence

from evidence.command_line import add_json, examples, exit_code_of
from reports.commands import COMMANDS


def main(argv: Sequence[str] | None = None, prog: str = "python -m reports") -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description="Make something of stored runs.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        purpose = command.purpose
        described: dict[str, Any] = {"help": purpose, "description": f"{purpose[0].upper()}{purpose[1:]}."}
        child = commands.add_parser(name, aliases=command.aliases, **described, **examples(*command.examples))
        command.add_arguments(child)
        if command.prints_table:
            add_json(child)
        child.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: int(arguments.run(arguments)))


if __name__ == "__main__":
    sys.exit(main())
