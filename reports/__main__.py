"""`python -m reports COMMAND`: what can be made of stored runs - a vendor's table, pages to look at, the history."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Sequence

from evidence.errors import SuiteError

COMMANDS = {
    "table": ("reports.commands.table", "the vendor's table, its blank cells filled from runs"),
    "html": ("reports.commands.html", "the page of a run, made anew"),
    "history": ("reports.commands.history", "the runs that were entered in the history, and entering more"),
    "compare": ("reports.commands.compare", "two runs of a cell held against each other"),
    "trend": ("reports.commands.trend", "a page of every metric over the releases in the history"),
}
"""Module and purpose by command; a module has `add_arguments(parser)` and `main(arguments)`, which returns a code."""

EXIT_REFUSED = 2
"""What was asked for cannot be done; argparse's own code for a command line that nobody understands."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the words of the command line ask for and return the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m reports", description="Make something of stored runs.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    # Only the chosen command's module is imported: each needs libraries of its own.
    chosen = next((word for word in words if word in COMMANDS), None)
    for name, (module_name, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        if name == chosen:
            module = importlib.import_module(module_name)
            module.add_arguments(command)
            command.set_defaults(run=module.main)
    arguments = parser.parse_args(words)
    try:
        return int(arguments.run(arguments))
    except SuiteError as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    except BrokenPipeError:  # who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main())
