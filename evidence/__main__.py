"""`python -m evidence sign RUN_DIR --key FILE`: signs the seal of stored runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

from evidence.command_line import examples
from evidence.errors import EvidenceError
from evidence.seal import sign_seal

EXIT_OK, EXIT_NOT_SIGNED = 0, 2


def main(argv: Sequence[str] | None = None, prog: str = "python -m evidence") -> int:
    """Run the command line and return the exit code: 2 if a run was not signed."""
    parser = argparse.ArgumentParser(prog=prog, description="Sign stored runs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="sign")
    sign = commands.add_parser(
        "sign",
        help="sign the seal of runs",
        description="Sign the seal of runs with an SSH key (OpenSSH 8.1 or newer), on any machine and at any time.",
        **examples(
            "%(prog)s runs/20261123T101200Z-r300-1x8-fp32 --key ~/.ssh/lab",
            "pytest --replay=RUN_DIR --require-signature=ALLOWED_SIGNERS   # invalid unless one of these has signed it",
        ),
    )
    sign.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR", help="a run's folder, with SHA256SUMS")
    sign.add_argument(
        "--key", required=True, type=Path, metavar="FILE", help="private key, or the public one of a key in ssh-agent"
    )
    arguments = parser.parse_args(argv)
    failed = False
    for run_dir in arguments.run_dirs:
        try:
            print(f"signed: {sign_seal(run_dir, arguments.key)}")
        except (EvidenceError, OSError) as error:
            failed = True
            print(error, file=sys.stderr)
    return EXIT_NOT_SIGNED if failed else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
