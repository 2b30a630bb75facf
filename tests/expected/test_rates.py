"""[[link]] and [[peak]] rows: what is read, what is refused, and one definition for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from expected import ExpectationError
from expected.rates import Rate, find_rate
from tests.expected.sample import GOOD, load

LINK = """
[[link]]
of = "all-reduce"
between = "devices"
value = 467.87
unit = "GB/s"
kind = "measured"
factor = 2.0
devices = 8
source = "a report"
"""
PEAK = """
[[peak]]
of = "gemm"
precision = "fp32"
value = 19.05
unit = "TFLOPS"
kind = "measured"
source = "a report"
"""


def test_every_cell_has_the_rates_of_its_device(tmp_path: Path) -> None:
    device = load(tmp_path, GOOD + LINK + PEAK)

    assert [[rate.of for rate in cell.rates] for cell in device.cells] == [["all-reduce", "gemm"]] * 2


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (Rate("all-reduce", 467.87, "GB/s", "measured", "", "devices", factor=2.0), 233.935),
        (Rate("send-recv", 600.0, "GB/s", "specification", "", "devices", "both ways"), 300.0),
        (Rate("send-recv", 200.0, "Gb/s", "specification", "", "hosts"), 25.0),
        (Rate("gemm", 19.05, "TFLOPS", "measured", ""), 19.05),
    ],
)
def test_printed_numbers_are_converted_to_one_definition(rate: Rate, expected: float) -> None:
    assert rate.rate == pytest.approx(expected)


def test_a_rate_is_found_by_its_definition() -> None:
    rates = [
        Rate("send-recv", 515.0, "GB/s", "measured", "", "devices"),
        Rate("send-recv", 19.33, "GB/s", "measured", "", "hosts"),
    ]

    assert find_rate(rates, "send-recv", "measured", between="hosts") is rates[1]
    assert find_rate(rates, "send-recv", "specification", between="hosts") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            LINK.replace('"all-reduce"', '"broadcast"'),
            r"link\[1\].of: found the string 'broadcast', expected one of all-r",
        ),
        (LINK.replace('between = "devices"\n', ""), r"link\[1\].between: missing; expected one of devices, hosts"),
        (LINK.replace('"all-reduce"', '"host-to-device"'), r"link\[1\].between: belongs to all-reduce and send-recv"),
        (LINK.replace('"GB/s"', '"TFLOPS"'), r"link\[1\].unit: found the string 'TFLOPS', expected one of GB/s, Gb/s"),
        (LINK.replace('"measured"', '"estimated"'), r"link\[1\].kind: .* expected one of measured, specification"),
        (LINK.replace("467.87", "0"), r"link\[1\].value: found the integer 0, expected a number > 0"),
        (LINK.replace("factor", "faktor"), r"link\[1\].faktor: unknown key; did you mean factor\?"),
        (LINK.replace('source = "a report"', ""), r"link\[1\].source: missing"),
        (LINK + LINK, r"link\[2\]: has the definition of another measured row"),
        (PEAK + PEAK.replace("[[peak]]", "[[link]]"), r"link\[1\].of: found the string 'gemm'"),
    ],
)
def test_what_has_no_clear_definition_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ExpectationError, match=message):
        load(tmp_path, GOOD + text)


def test_one_bracket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExpectationError, match=r"link: found .*, expected \[\[link\]\], with two brackets"):
        load(tmp_path, GOOD + LINK.replace("[[link]]", "[link]"))
