"""A session and its agents understand each other, and nothing else of what comes through the same pipe."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.launch.messages import SRUN_LINE_BYTES, Assembler, Hello, Order, line, lines, parse

ORDER = Order("token", "/runs/x", "abc", ["--epochs=1"], "cpu", nodes=2, ranks_per_node=4, data="/data")
TEXTS = st.text(max_size=20)
HELLO: dict[str, Any] = {
    "host": "gpu-07",
    "utc_s": 1.5,
    "pid": 7,
    "source": "abc",
    "shared": True,
    "port": 29500,
    "cards": ["0"],
    "addresses": [["10.0.0.7", 24]],
    "problems": [],
}


@given(
    st.builds(
        replace,
        st.just(ORDER),
        flags=st.lists(TEXTS),
        cards=st.none() | st.lists(TEXTS),
        card_count=st.none() | st.integers(1, 64),
        shapes=st.none() | st.dictionaries(TEXTS, st.integers() | TEXTS),
        files=st.dictionaries(TEXTS, TEXTS),
        environment=st.dictionaries(TEXTS, TEXTS),
        leases=st.none() | TEXTS,
        simulated_hosts=st.booleans(),
        silence_s=st.floats(0.1, 1e6),
    )
)
def test_an_order_arrives_as_it_was_given_in_one_line(order: Order) -> None:
    text = order.line()

    message = parse(text.encode("utf-8"))

    assert text.count("\n") == 1
    assert message is not None
    assert Order.of(message["order"]) == order


@pytest.mark.parametrize(
    "record",
    [
        *(None, [], "order", 3, {}),
        {**asdict(ORDER), "colour": "red"},
        {name: value for name, value in asdict(ORDER).items() if name != "token"},
    ],
)
def test_an_order_of_another_version_is_refused_in_words(record: Any) -> None:
    with pytest.raises(ValueError, match="different versions of the suite"):
        Order.of(record)


def test_what_an_order_leaves_out_has_its_default() -> None:
    record = {name: value for name, value in asdict(ORDER).items() if name not in ("cards", "silence_s", "files")}

    assert Order.of(record) == ORDER


def test_a_hello_is_of_the_host_whose_number_it_came_with() -> None:
    hello = Hello.of(3, HELLO)

    assert (hello.node, hello.host, hello.port, hello.problems) == (3, "gpu-07", 29500, [])


@pytest.mark.parametrize("record", [{**HELLO, "colour": 1}, {"host": "gpu-07"}, {**HELLO, "node": 0}, [], None])
def test_a_hello_of_another_version_is_a_type_error(record: Any) -> None:
    with pytest.raises(TypeError):
        Hello.of(0, record)


@given(st.binary() | st.text())
def test_parsing_raises_nothing_whatever_comes(text: Any) -> None:
    found = parse(text)

    assert found is None or isinstance(found, dict)


@pytest.mark.parametrize(
    "text", [b"", b"[1]", b"3", b'"x"', b"null", b"{", b"[" * 100_000, b"\xff\xfe{}", b"Welcome!\n"]
)
def test_what_is_no_message_is_none(text: bytes) -> None:
    assert parse(text) is None


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_a_message_is_read_as_it_was_written(message: dict[str, Any]) -> None:
    assert parse(line(message).encode("utf-8")) == json.loads(json.dumps(message))


LONG_TEXTS = st.text(max_size=2000)


@given(st.lists(st.tuples(st.integers(0, 1), LONG_TEXTS), max_size=6), st.randoms(use_true_random=False))
def test_long_messages_of_two_hosts_come_through_lines_that_srun_keeps_whole(told: Any, order: Any) -> None:
    queues: dict[int, list[str]] = {0: [], 1: []}
    for node, text in told:
        queues[node] += lines({"hello": {"said": text}}, {"t": "f" * 32, "node": node}, SRUN_LINE_BYTES)
    assembler, heard = Assembler(), []
    while any(queues.values()):
        queue = queues[order.choice([node for node, waiting in queues.items() if waiting])]
        assert len(queue[0].encode()) <= SRUN_LINE_BYTES
        heard.append(assembler.take(json.loads(queue.pop(0))))

    whole = [(message["node"], message["hello"]["said"]) for message in heard if message is not None]
    for node in (0, 1):
        assert [text for of, text in whole if of == node] == [text for of, text in told if of == node]


@pytest.mark.parametrize(
    "part", [{"part": [0, 1]}, {"node": 0, "part": 3, "of": "x"}, {"node": 0, "part": [1, 2], "of": "no JSON"}]
)
def test_a_part_that_makes_no_message_is_none(part: dict[str, Any]) -> None:
    assert Assembler().take(part) is None
