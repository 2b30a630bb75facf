"""Whatever is read is what was written: tables of known cells, written in many ways and with noise among them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Mapping

from hypothesis import assume, given
from hypothesis import strategies as st

from evidence.errors import SuiteError
from expected import METRICS
from expected.documents import Given, device_toml, read_document
from expected.documents.plausible import EPOCH_IMAGES
from tests.expected.documents.making import HEADER, SEED, document, numbers

COLUMNS = tuple(name.strip() for name in HEADER.strip("|").split("|"))

PADDING = st.sampled_from(("", " ", "  ", "\u3000", "\t"))


@dataclass(frozen=True)
class Written:
    """A cell: what it says, and how it stands in the table."""

    says: Any
    text: str


@st.composite
def rates(draw: Any, most: float) -> Written:
    """A rate that a device can have; as a whole number with thousands where there are so many devices."""
    value = draw(
        st.floats(0.001, most).map(lambda value: round(value, 4)).filter(bool) | st.integers(1, int(most)).map(float)
    )
    text = repr(value)
    forms = [text, f"**{text}**", f"`{text}`", f"{text} images/s"]
    whole = f"{int(value):,}"
    if value == int(value):
        forms += [str(int(value)), whole, whole.replace(",", "，")]
    return Written(value, draw(st.sampled_from(forms)))


@st.composite
def times(draw: Any, rate: float) -> Written:
    """The time of one epoch or more at a rate, in seconds, minutes or hours."""
    value = int(EPOCH_IMAGES / rate * draw(st.floats(1.1, 40.0))) + 1
    forms = {
        **dict.fromkeys((f"{value}", f"{value}.0", f"{value:,}", f"{value} s", f"{value}秒"), value),
    }
    minutes = -(-value // 60)
    forms.update({f"{minutes} min": 60 * minutes, f"{minutes} 分钟": 60 * minutes})
    text = draw(st.sampled_from(tuple(forms)))
    return Written(float(forms[text]), text)


@st.composite
def maps(draw: Any) -> Written:
    in_tenths_of_percent = draw(st.integers(10, 450))
    value = float(f"{in_tenths_of_percent / 1000:.3f}")
    percent = f"{in_tenths_of_percent / 10:.1f}"
    forms = (f"{percent}%", f"{percent} %", f"{percent}％", f"{value:.3f}", f"__{percent}%__")
    return Written(value, draw(st.sampled_from(forms)))


@st.composite
def memories(draw: Any) -> Written:
    used = draw(st.integers(1, 320)) / 10
    form = draw(st.sampled_from(("{}/32.0", "{} / 32.0", "{}／32.0", "{}GiB/32.0GiB", "{}/32.0 GiB", "{}/32")))
    return Written((used, 32.0), form.format(used))


BLANK = st.just(Written("", "")) | st.sampled_from((Written("/", "/"), Written("/", "／")))
NOISE = st.sampled_from(
    ("0.376 && 0.336", "N/A", "-", "12[1]", "5-7", "3.3d", "约 5", "1 2", "1_0", "٣", "1/2/3", "99%%", "nan")
)


@st.composite
def rows(draw: Any, topology: str) -> Mapping[str, Written]:
    nodes, cards = topology.split("x")
    words = {"1": "单机", "2": "两机"}[nodes] + (f"{cards}卡" if cards != "1" else "单卡")
    config = draw(
        st.sampled_from(
            (f"R300{words}（{topology}）", f"{words}({topology})", topology, f"R300 {words} （{topology}）")
        )
    )
    hyper = draw(
        st.sampled_from(
            ("bs=16,lr=0.16", "lr=0.16，bs=16", "batch_size: 16, lr: 1.6e-1", "bs16 lr0.16", "`bs=16,lr=0.16`")
        )
    )
    found = {
        "配置": Written(topology, config),
        "precision": Written("fp32", draw(st.sampled_from(("fp32", "FP32", "`fp32`")))),
        "fix_hp": Written("bs16-lr0.16", hyper),
    }
    most = 300.0 * int(nodes) * int(cards)
    for name in ("p_whole", "p_train", "p_core"):
        found[name] = draw(rates(most) | BLANK)
    p_whole = found["p_whole"].says
    found["e2e_time"] = draw(times(p_whole if isinstance(p_whole, float) else most) | BLANK)
    found["map"], found["mem"] = draw(maps() | BLANK), draw(memories() | BLANK)
    return found


def rates_in_order(row: Mapping[str, Written]) -> bool:
    known = [row[name].says for name in ("p_whole", "p_train", "p_core") if isinstance(row[name].says, float)]
    return known == sorted(known)


@st.composite
def tables(draw: Any, *, noise: bool) -> tuple[str, dict[str, Mapping[str, Written]]]:
    """A document and what its table says, by topology; with noise some cells hold what nobody can read."""
    names = draw(st.permutations(COLUMNS))
    extra = draw(st.lists(st.sampled_from(("loss", "备注", "id", "p_coree")), unique=True, max_size=2))
    for name in extra:
        names.insert(draw(st.integers(0, len(names))), name)
    said: dict[str, Mapping[str, Written]] = {}
    lines = []
    for topology in draw(st.lists(st.sampled_from(("1x1", "1x8", "2x8")), unique=True, min_size=1)):
        row = draw(rows(topology))
        assume(rates_in_order(row))
        texts = {name: written.text for name, written in row.items()}
        texts.update({name: draw(st.sampled_from(("1", "2.5", "", "17.0/32.0", "36.4%"))) for name in extra})
        if noise and draw(st.booleans()):
            name = draw(st.sampled_from(tuple(METRICS)))
            texts[name] = draw(NOISE)
            row = {**row, name: Written(None, texts[name])}
        said[f"{topology}-bs16-lr0.16"] = row
        cells = [draw(PADDING) + texts[name] + draw(PADDING) for name in names]
        lines.append("|" + "|".join(cells) + "|")
    header = "|" + "|".join(draw(PADDING) + name + draw(PADDING) for name in names) + "|"
    return document(*lines, header=header, dashes="|" + "---|" * len(names)), said


@given(tables(noise=False))
def test_a_table_reads_as_it_was_written(written: Any) -> None:
    text, said = written

    found = numbers(text)

    assert read_document(text).errors == ()
    assert found == {name: {key: row[key].says for key in METRICS} for name, row in said.items()}


@given(tables(noise=True))
def test_a_table_with_noise_reads_as_it_was_written_or_complains_about_that_row(written: Any) -> None:
    text, said = written

    found = numbers(text)

    noisy = {name for name, row in said.items() if any(row[key].says is None for key in METRICS)}
    assert found == {name: {key: row[key].says for key in METRICS} for name, row in said.items() if name not in noisy}
    assert bool(read_document(text).errors) == bool(noisy)


@given(st.text(st.characters(), max_size=30), st.text(st.characters(), max_size=30))
def test_no_text_and_no_option_raises_anything_but_the_projects_own_errors(text: str, option: str) -> None:
    for document_text in (text, SEED.replace("R300", text), SEED.replace("bs=16", text), SEED + text):
        found = read_document(document_text)
        lines = document_text.count("\n") + document_text.count("\r") + 1
        assert all(1 <= one.place.line <= lines and one.place.column >= 1 for one in found.complaints)
        assert found.errors or found.rows
        with contextlib.suppress(SuiteError):
            assert device_toml(found, Given("x", vendor=option, backend=option, name=option, timing="host"))
