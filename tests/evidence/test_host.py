"""The event `environment` is read as far as it is there, and damage in it is damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.codec import FieldError, decode
from evidence.events.host import Environment
from tests.suite.stored import bundle_of


def test_an_event_without_anything_is_a_host_of_which_nothing_is_known() -> None:
    facts = decode(Environment, {})

    assert (facts.machine_name, facts.cards, facts.card_count, facts.network, facts.packages) == ("", (), None, (), {})


def test_what_is_there_is_read() -> None:
    facts = decode(
        Environment,
        {
            "machine": {"vendor": "Kunlunxin", "product": "R480-X8"},
            "network": [{"device": "mlx5_0", "port": "1", "rate": "200 Gb/sec (4X HDR)"}],
            "card_memory_gib": [32],
            "os": {"name": "Ubuntu", "of": "host"},
        },
    )

    assert facts.machine_name == "Kunlunxin R480-X8"
    assert (facts.network[0].rate, facts.network[0].state) == ("200 Gb/sec (4X HDR)", None)
    assert facts.card_memory_gib == (32.0,)
    assert facts.os == {"name": "Ubuntu", "of": "host"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"card_count": "8"},
        {"cards": "R300"},
        {"cards": [300]},
        {"network": [{"device": "mlx5_0"}]},
        {"network": {}},
        {"packages": {"torch": 2}},
        {"kernel": 5},
    ],
)
def test_a_value_of_another_kind_is_damage(wrong: dict[str, Any]) -> None:
    with pytest.raises(FieldError):
        decode(Environment, wrong)


def test_the_first_rank_of_each_host_tells_and_twice_is_a_problem(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "2x8")
    sound = read_run(bundle.write(tmp_path / "sound"))
    bundle.ranks[0].insert(2, dict(bundle.one("environment")))
    twice = read_run(bundle.write(tmp_path / "twice"))

    assert [rank.rank for rank in sound.ranks if rank.environment is not None] == [0, 8]
    assert sound.problems == ()
    assert twice.problems == ("rank-0000.jsonl line 3: environment: 'environment' comes a second time",)
