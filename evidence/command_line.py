"""What the project's commands share: helps that end in examples, `--json`, and one line for what is refused."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Callable, Mapping

from evidence.codec import dumps
from evidence.errors import SuiteError

EXIT_REFUSED = 2
"""The command cannot be done; argparse's own code for a command line that it cannot parse."""


def examples(*lines: str) -> dict[str, Any]:
    """Return the arguments of an ArgumentParser whose help ends in `lines`; `%(prog)s` is the command itself.

    >>> argparse.ArgumentParser(**examples("%(prog)s runs/<run>"))  # doctest: +SKIP
    """
    text = "\n".join(f"  {line}" for line in lines)
    return {"epilog": f"examples:\n{text}", "formatter_class": argparse.RawDescriptionHelpFormatter}


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare `--json`, in place of what the command prints for people."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead, for other programs")


def print_json(record: Mapping[str, Any]) -> None:
    """Print strict JSON: an object over several lines."""
    print(dumps(record, indent=2))


def exit_code_of(work: Callable[[], int]) -> int:
    """Return what `work` returns; EXIT_REFUSED if it raises SuiteError, which is printed, or its reader has gone."""
    try:
        return work()
    except SuiteError as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    except BrokenPipeError:  # the reader (head, less) has closed its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_REFUSED
