"""`python -m reports COMMAND`: what can be made of stored runs - a vendor's table, pages to look at, the history."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Sequence

from evidence.errors import SuiteError
from reports.commands import COMMANDS

EXIT_REFUSED = 2
"""The command cannot be done; argparse's own code for a command line that it cannot parse."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports", description="Make something of stored runs.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        purpose = command.purpose
        child = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        command.add_arguments(child)
        child.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except SuiteError as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    except BrokenPipeError:  # the reader (head, less) has closed its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main())
