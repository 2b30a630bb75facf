"""`python -m expected import README.md --out expected/NAME.toml` imports a table; `check` compares the two."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Sequence

from evidence.command_line import EXIT_REFUSED, add_json, examples, exit_code_of, print_json
from evidence.files import write_whole
from evidence.text import visible
from expected.documents import Document, DocumentError, Given, device_toml, differences, read_document_file
from expected.documents.cells import Default, Hyper, read_default
from expected.documents.compare import is_named
from expected.documents.device_file import short_name
from expected.documents.model import quote
from expected.load import load_device, load_devices, read_device
from expected.model import TIMINGS, Device
from expected.toml_file import ExpectationError

EXIT_OK, EXIT_DIFFERENT = 0, 1
"""Written or no difference; differences. EXIT_REFUSED: document or arguments refused."""


def main(argv: Sequence[str] | None = None, prog: str = "python -m expected") -> int:
    """Run the command line and return the exit code.

    >>> main(["check", "README.md", "--device", "r300"])  # doctest: +SKIP
    0
    """
    arguments = _parser(prog).parse_args(argv)
    # Documents are Chinese, which not every terminal can print.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    return exit_code_of(lambda: int(arguments.run(arguments)))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Vendors' documents and device files.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    taking = commands.add_parser(
        "import",
        help="write a device file from a vendor's README",
        description="Write a device file from a vendor's README.",
        **examples(
            "%(prog)s README.md --out expected/x900.toml",
            "%(prog)s README.md --out expected/x900.toml --vendor Acme --backend cuda --timing host",
        ),
    )
    taking.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the device file, named after its marker"
    )
    taking.add_argument("--force", action="store_true", help="replace the file if it is there")
    taking.add_argument("--marker", default="", help="the device's pytest marker (default: the name of --out)")
    taking.add_argument("--backend", default="", help="the trainer's backend, where the vendor is not a known one")
    taking.add_argument("--vendor", default="", help="the vendor's name, where the document's is not a known one")
    taking.add_argument(
        "--name", default="", help="the device's name without its vendor; overrides a short name that no row bears"
    )
    taking.add_argument("--timing", default="", choices=TIMINGS, help="the clock that p_core was read with")
    taking.add_argument("--edition", default="", help="which edition of the document this is")
    taking.set_defaults(run=_import)
    checking = commands.add_parser(
        "check",
        help="list every difference between a README and a device file",
        description="List every difference between a README and a device file.",
        **examples("%(prog)s README.md", "%(prog)s README.md --file /lab/x900.toml"),
    )
    add_json(checking)
    which = checking.add_mutually_exclusive_group()
    which.add_argument(
        "--device", default="", metavar="MARKER", help="a shipped device (default: by the document's name)"
    )
    which.add_argument("--file", type=Path, metavar="FILE", help="a device file that is not shipped")
    checking.set_defaults(run=_check)
    for command in (taking, checking):
        command.add_argument("readme", type=Path, metavar="README.md")
        command.add_argument(
            "--default-hp",
            action="append",
            default=[],
            metavar="[NxM:]bs=B,lr=L",
            help='hyper-parameters of rows that print none or "/"; may be repeated, for one topology each',
        )
    return parser


def _import(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    marker = arguments.marker or out.stem
    if out.suffix != ".toml" or out.stem != marker:
        raise DocumentError(f"--out: found {quote(str(out))}, expected a path that ends with {visible(marker)}.toml")
    if not arguments.force and out.exists():
        raise DocumentError(f"--out: {visible(str(out))} is there already; give another name, or --force to replace it")
    document = _read(arguments, name=f"{arguments.vendor} {arguments.name}".strip() if arguments.name else "")
    given = Given(marker, arguments.backend, arguments.vendor, arguments.name, arguments.timing, arguments.edition)
    _print_notes(document)
    text = device_toml(document, given)
    device = read_device(text.encode("utf-8"), out)
    _check_names(device, out)
    _write(out, text, replace=arguments.force)
    print(f"{visible(str(out))}: {device.vendor} {device.name}, {len(device.cells)} cells")
    return EXIT_OK


def _check(arguments: argparse.Namespace) -> int:
    document = _read(arguments)
    device = _device(arguments, document)
    # A row without hyper-parameters contradicts none.
    document = _read(arguments, _defaults_of(device), f"{device.vendor} {device.name}")
    _print_notes(document)
    for complaint in document.errors:
        print(complaint.line(document.name), file=sys.stderr)
    found = differences(document, device)
    if arguments.json:
        print_json({"document": document.name, "device_file": str(device.path), "differences": list(found)})
    else:
        for line in found:
            print(line)
    if document.errors:
        return EXIT_REFUSED
    if not found and not arguments.json:
        print(f"{document.name}: no difference to {device.path.name}")
    return EXIT_DIFFERENT if found else EXIT_OK


def _read(arguments: argparse.Namespace, defaults: Sequence[Default] = (), name: str = "") -> Document:
    given = [read_default(text) for text in arguments.default_hp]
    return read_document_file(arguments.readme, [*defaults, *given], name)


def _defaults_of(device: Device) -> list[Default]:
    """Return the hyper-parameters of each topology of which a device has one cell."""
    topologies = [cell.topology for cell in device.cells]
    return [
        Default(cell.topology, Hyper(cell.batch_size, cell.learning_rate), device.path.name)
        for cell in device.cells
        if topologies.count(cell.topology) == 1
    ]


def _print_notes(document: Document) -> None:
    for note in document.notes:
        print(note.line(document.name), file=sys.stderr)


def _device(arguments: argparse.Namespace, document: Document) -> Device:
    if arguments.file is not None:
        return load_device(arguments.file)
    devices = load_devices()
    known = ", ".join(devices)
    if arguments.device:
        if arguments.device not in devices:
            raise ExpectationError(f"--device: found {quote(arguments.device)}, expected one of {known}")
        return devices[arguments.device]
    name = short_name(document).casefold()
    found = [device for device in devices.values() if is_named(name, device)]
    if len(found) == 1:
        return found[0]
    wrong = f"the short name {quote(name)}, which no shipped device has" if name else "no short name (硬件设备简称)"
    raise DocumentError(f"{document.name}: found {wrong}; give --device, one of {known}, or --file")


def _check_names(device: Device, out: Path) -> None:
    """Refuse a second device of one name in a folder, of which no device could be loaded any more."""
    wanted = f"{device.vendor} {device.name}".casefold()
    for path in sorted(out.parent.glob("*.toml")):
        if path.name == out.name or path.name.startswith("."):
            continue
        try:
            other = load_device(path)
        except ExpectationError:
            continue  # reported when that file is loaded
        if f"{other.vendor} {other.name}".casefold() == wanted or other.marker.casefold() == device.marker.casefold():
            raise DocumentError(
                f"{visible(str(out))}: {path.name} is of {other.vendor} {other.name} already; change one"
            )


def _write(out: Path, text: str, *, replace: bool) -> None:
    """Write the text to `out` atomically; without `replace`, only if nothing is there."""
    if not replace and os.path.lexists(str(out)):
        raise DocumentError(f"{visible(str(out))}: appeared while it was being written; left as it is")
    try:
        write_whole(out, text)
    except OSError as error:
        raise DocumentError(f"{visible(str(out))}: cannot be written: {error.strerror or error}") from error


if __name__ == "__main__":
    sys.exit(main())
