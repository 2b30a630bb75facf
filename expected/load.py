"""Loads device files: TOML in, checked devices out."""

from __future__ import annotations

import hashlib
import keyword
from pathlib import Path
from typing import Any

from expected.cells import FORMATS, CellDefaults, read_cells
from expected.metrics import COCO_TRAIN_IMAGES, METRICS
from expected.model import TIMINGS, Device, Recipe, Smoke
from expected.rates import peak_rates, read_rates
from expected.recipe import read_recipe
from expected.toml_file import POSITIVE, ExpectationError, Range, Table, parse_toml, read_file

SCHEMA = 1

RELEASE_FILE = "SHA256SUMS"
"""Beside the device files: the digests of those that belong to the release, in the format of `sha256sum -c`."""

RESERVED_MARKERS = frozenset(
    (
        *("skip", "skipif", "xfail", "parametrize", "usefixtures", "filterwarnings"),  # pytest's own
        *("tryfirst", "trylast", "hookwrapper", "optionalhook", "historic"),
        *("benchmark", "xdist_group", "no_cover", "hypothesis"),  # plugins that the project installs
        *("timeout", "flaky", "asyncio", "anyio"),  # plugins that a site may have
        *("question", "asked", "integration", "labs"),  # this suite's
    )
)

_TOP_KEYS = (
    *("schema", "device", "source", "units", "environment", "peak_tflops", "link", "peak", "recipe", "smoke"),
    *("shapes", "cell", "unpublished"),
)
_DEVICE_KEYS = ("marker", "name", "vendor", "backend", "card_memory_gib", "cards_per_host", "timing", "smi")
_SOURCE_KEYS = ("document", "edition", "method", "notes")
_SHAPES_BACKENDS = ("cpu", "virtual")
_SMI_BACKEND = "cuda"
_SMOKE_KEYS = ("batch_size", "steps", "sides")
_SHAPES = {"train_images": Range(1), "val_images": Range(1), "seed": Range(0)}


def load_devices(folder: str | Path | None = None) -> dict[str, Device]:
    """Return the devices of a folder (default: this package's) by marker, in the order of the file names.

    Raises ExpectationError for a folder without files, a file that does not load, or two files that clash.

    >>> load_devices()["r300"].cells[0].id
    'r300-1x1-fp32-bs16'
    """
    folder = Path(__file__).parent if folder is None else Path(folder)
    # A leading dot is an editor's lock or backup, never a device.
    paths = sorted(path for path in folder.glob("*.toml") if not path.name.startswith("."))
    if not paths:
        raise ExpectationError(f"{folder}: found no *.toml file, expected one for each device")
    devices: dict[str, Device] = {}
    taken: dict[tuple[str, str], str] = {}
    for path in paths:
        device = load_device(path)
        # Markers that differ in case only would share their run folders on some file systems.
        for key, text in (("marker", device.marker), ("name", f"{device.vendor} {device.name}")):
            other = taken.setdefault((key, text.casefold()), path.name)
            if other != path.name:
                raise ExpectationError(
                    f"{path.name}: device.{key}: found {text!r}, which {other} has already; change one"
                )
        devices[device.marker] = device
    return devices


def load_device(path: str | Path) -> Device:
    """Load one device file, check every number and compute every bound.

    Raises ExpectationError, naming file and key, for anything missing, unknown, out of range, or of the wrong type or
    unit. Messages count cells from 1.
    """
    return read_device(read_file(Path(path)), Path(path))


def read_device(content: bytes, path: Path) -> Device:
    """Return the device that the content of the file at `path` describes; otherwise as load_device."""
    found, sha256 = parse_toml(content, path), hashlib.sha256(content).hexdigest()
    # Checked before unknown keys: those of a later schema are no typing errors.
    Table(path.name, "", found, tuple(found)).integer("schema", Range(SCHEMA, SCHEMA))
    top = Table(path.name, "", found, _TOP_KEYS)
    device = top.table("device", _DEVICE_KEYS)
    marker = _read_marker(device, path.stem)
    backend = device.text("backend")
    if not _is_name(backend):
        raise device.fault("backend", f"found {backend!r}, expected the name of a backend, such as cpu or cuda")
    memory = device.number("card_memory_gib", POSITIVE, "GiB") if "card_memory_gib" in device else None
    cards = device.integer("cards_per_host", Range(1)) if "cards_per_host" in device else None
    source, method, notes = _read_source(top)
    shapes = _read_shapes(top, backend)
    _check_units(top)
    peaks, peaks_source = _read_peaks(top)
    defaults = CellDefaults(
        marker=marker,
        timing=device.choice("timing", TIMINGS),
        source=source,
        recipe=read_recipe(top, Recipe()),
        card_memory_gib=memory,
        cards_per_host=cards,
        peak_tflops=peaks,
        rates=(*read_rates(top), *peak_rates(peaks, peaks_source)),
        train_images=COCO_TRAIN_IMAGES if shapes is None else shapes["train_images"],
    )
    return Device(
        marker=marker,
        name=device.text("name"),
        vendor=device.text("vendor"),
        backend=backend,
        card_memory_gib=memory,
        cards_per_host=cards,
        environment=_read_environment(top),
        source=source,
        cells=read_cells(top, defaults),
        shapes=shapes,
        path=path,
        method=method,
        notes=notes,
        smi=_read_smi(device, backend),
        sha256=sha256,
        is_released=released(path.parent).get(path.name) == sha256,
        smoke=_read_smoke(top),
    )


def released(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each device file as the release has it, by name, from RELEASE_FILE; empty without one."""
    try:
        lines = (folder / RELEASE_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


def _read_marker(device: Table, stem: str) -> str:
    marker = device.text("marker")
    if not _is_name(marker):
        raise device.fault("marker", f"found {marker!r}, expected a name that pytest -m understands, such as r300")
    if marker in RESERVED_MARKERS:
        raise device.fault("marker", f"found {marker!r}, which pytest or this suite uses already; choose another")
    if marker != stem:
        raise device.fault("marker", f"found {marker!r}, expected {stem!r}, the file's own name; change one of the two")
    return marker


def _read_smi(device: Table, backend: str) -> str:
    if "smi" not in device:
        return ""
    if backend != _SMI_BACKEND:
        raise device.fault(
            "smi", f"belongs to the backend {_SMI_BACKEND}, whose devices share it; found it for {backend}"
        )
    return device.text("smi")


def _read_smoke(top: Table) -> Smoke:
    """Return how a smoke run of the device differs from its rows'; as every device's, if the file does not say."""
    if "smoke" not in top:
        return Smoke()
    table = top.table("smoke", _SMOKE_KEYS)
    found: dict[str, Any] = {key: table.integer(key, Range(1)) for key in ("batch_size", "steps") if key in table}
    if "sides" in table:
        found["sides"] = table.integers("sides", Range(1))
        if len(found["sides"]) != 2:
            raise table.fault(
                "sides", f"found {len(found['sides'])} numbers, expected two: pixels of the shorter and longer side"
            )
    return Smoke(**found)


def _read_source(top: Table) -> tuple[str, str, str]:
    """Return (document with edition, method, notes) of the `[source]` table; "" for a missing key."""
    table = top.table("source", _SOURCE_KEYS)
    edition, method, notes = (table.text(key) if key in table else "" for key in _SOURCE_KEYS[1:])
    document = table.text("document")
    return f"{document}, {edition}" if edition else document, method, notes


def _check_units(top: Table) -> None:
    """Require that the file states each metric's unit, and that it is the suite's."""
    units = top.table("units", tuple(METRICS))
    for metric in METRICS.values():
        units.choice(metric.name, (metric.unit,))


def _read_peaks(top: Table) -> tuple[dict[str, float], str]:
    """Return the specified peak of a device by format, in TFLOPS, and its source; {} if the file states none."""
    if "peak_tflops" not in top:
        return {}, ""
    table = top.table("peak_tflops", (*FORMATS, "source"))
    source = table.text("source")
    return {key: table.number(key, POSITIVE, "TFLOPS") for key in FORMATS if key in table}, source


def _read_environment(top: Table) -> dict[str, dict[str, str]]:
    """Return the vendor's texts under "hardware" and "software", and "packages" if the file has that table."""
    environment = top.table("environment", ("hardware", "software", "packages"))
    keys = ("hardware", "software", *(("packages",) if "packages" in environment else ()))
    tables = {key: environment.free_table(key) for key in keys}
    return {key: {name: table.text(name) for name in table.given()} for key, table in tables.items()}


def _read_shapes(top: Table, backend: str) -> dict[str, int] | None:
    """Return the generated data set, which only the CPU and simulated devices may be trained on."""
    if "shapes" not in top:
        return None
    if backend not in _SHAPES_BACKENDS:
        names = " and ".join(_SHAPES_BACKENDS)
        raise top.fault(
            "shapes", f"belongs to the backends {names} only, found it for {backend}; devices train on COCO"
        )
    table = top.table("shapes", tuple(_SHAPES))
    return {key: table.integer(key, allowed) for key, allowed in _SHAPES.items()}
