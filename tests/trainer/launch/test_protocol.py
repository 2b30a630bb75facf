"""The protocol between a session and its agents: messages, and both ends of the pipes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.launch.launches import TOKEN, left, until
from trainer.launch.launchers import Start
from trainer.launch.protocol import (
    GONE,
    SRUN_LINE_BYTES,
    UNHEARD,
    Assembler,
    Channel,
    ControlReader,
    Order,
    line,
    lines,
    parse,
)

ORDER = Order("token", "/runs/x", "abc", ["--epochs=1"], "cpu", nodes=2, ranks_per_node=4, data="/data")
TEXTS = st.text(max_size=20)


@given(
    st.builds(
        replace,
        st.just(ORDER),
        flags=st.lists(TEXTS),
        devices=st.none() | st.lists(TEXTS),
        device_count=st.none() | st.integers(1, 64),
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
    record = {name: value for name, value in asdict(ORDER).items() if name not in ("devices", "silence_s", "files")}

    assert Order.of(record) == ORDER


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
def test_long_messages_of_two_hosts_come_through_lines_that_srun_keeps_whole(expected: Any, order: Any) -> None:
    queues: dict[int, list[str]] = {0: [], 1: []}
    for node, text in expected:
        queues[node] += lines({"hello": {"said": text}}, {"t": "f" * 32, "node": node}, SRUN_LINE_BYTES)
    assembler, heard = Assembler(), []
    while any(queues.values()):
        queue = queues[order.choice([node for node, waiting in queues.items() if waiting])]
        assert len(queue[0].encode()) <= SRUN_LINE_BYTES
        heard.append(assembler.take(json.loads(queue.pop(0))))

    whole = [(message["node"], message["hello"]["said"]) for message in heard if message is not None]
    for node in (0, 1):
        assert [text for of, text in whole if of == node] == [text for of, text in expected if of == node]


@pytest.mark.parametrize(
    "part", [{"part": [0, 1]}, {"node": 0, "part": 3, "of": "x"}, {"node": 0, "part": [1, 2], "of": "no JSON"}]
)
def test_a_part_that_makes_no_message_is_none(part: dict[str, Any]) -> None:
    assert Assembler().take(part) is None


ECHO = "import sys\nfor text in sys.stdin: print(text, end='', flush=True)\nprint('end of input', file=sys.stderr)"


@contextlib.contextmanager
def channel(folder: Path, *command: str, **added: str) -> Iterator[Channel]:
    one = Channel(Start(list(command), (0,), "gpu-7", added), TOKEN, folder / "launcher.log")
    try:
        yield one
    finally:
        one.close()
        one.kill()


def ended(one: Channel) -> list[Any]:
    """Everything that a process has said, once it is over."""
    assert until(lambda: one.process.poll() is not None)
    return list(one.messages())


def said(tmp_path: Path, *texts: str) -> tuple[list[Any], list[str], str]:
    """(messages, last words, log) of a process that prints these texts."""
    with channel(tmp_path, sys.executable, "-c", "import sys; sys.stdout.write(sys.argv[1])", "".join(texts)) as one:
        messages = ended(one)
        log = tmp_path / "launcher.log"
        return messages, one.last_words, log.read_text() if log.exists() else ""


def test_what_is_no_message_goes_to_the_log_with_the_hosts_name(tmp_path: Path) -> None:
    message = line({"t": TOKEN, "node": 0, "hello": {}})

    messages, words, log = said(
        tmp_path, "Welcome to gpu-7!\n", "\n", message, "{broken\n", '{"t":"x"}\n', "[1]\n", "null\n", "no line's end"
    )

    assert [one["hello"] for one in messages] == [{}]
    assert words == ["Welcome to gpu-7!", "{broken", '{"t":"x"}', "[1]", "null", "no line's end"]
    assert log.splitlines()[0] == "gpu-7: Welcome to gpu-7!"
    assert TOKEN not in log


def test_a_message_is_taken_behind_output_that_ends_no_line(tmp_path: Path) -> None:
    """As a login shell that sets the terminal's title prints it, or a banner without a last line end."""
    message = line({"t": TOKEN, "node": 0, "hello": {"said": "{"}})

    messages, words, log = said(tmp_path, "\x1b]0;gpu-7\x07", message, '{"t":"x"} ', message)

    assert [one["hello"] for one in messages] == [{"said": "{"}] * 2
    assert words == ["\x1b]0;gpu-7\x07", '{"t":"x"}']
    assert TOKEN not in log


@pytest.mark.parametrize("token", ["", "other", TOKEN.upper(), TOKEN + "x"])
def test_a_message_with_another_token_is_none(tmp_path: Path, token: str) -> None:
    messages, words, _ = said(tmp_path, line({"t": token, "node": 0, "hello": {}}))

    assert messages == []
    assert len(words) == 1


def test_a_message_in_parts_comes_whole_though_another_hosts_stand_between(tmp_path: Path) -> None:
    long = [{"stacks": [{"text": f"{node}-{'é' * 2000}"}]} for node in (0, 1)]
    first, second = (lines(long[node], {"t": TOKEN, "node": node}, 1024) for node in (0, 1))
    assert len(first) == len(second) > 2

    messages, words, _ = said(tmp_path, *(text for pair in zip(first, second) for text in pair))

    assert [(one["node"], one["stacks"]) for one in messages] == [(node, long[node]["stacks"]) for node in (0, 1)]
    assert words == []


def test_bytes_that_are_no_text_disturb_nobody(tmp_path: Path) -> None:
    program = f"import sys; sys.stdout.buffer.write(b'\\xff\\x00{{\\n' + {line({'t': TOKEN, 'node': 0})!r}.encode())"
    with channel(tmp_path, sys.executable, "-c", program) as one:
        assert len(ended(one)) == 1
        assert len(one.last_words) == 1


def test_of_a_long_speech_the_last_lines_are_remembered_and_all_of_it_is_logged(tmp_path: Path) -> None:
    _, words, log = said(tmp_path, *(f"line {number}\n" for number in range(200)))

    assert (words[-1], len(words)) == ("line 199", 20)
    assert len(log.splitlines()) == 200


def test_what_is_sent_arrives_and_closing_ends_it(tmp_path: Path) -> None:
    with channel(tmp_path, sys.executable, "-c", ECHO) as one:
        one.send(line({"t": TOKEN, "node": 0, "go": 1}))
        assert until(one.messages)
        one.close()
        ended(one)

        assert one.last_words == ["end of input"]


def test_sending_to_nobody_is_no_error(tmp_path: Path) -> None:
    with channel(tmp_path, "true") as one:
        ended(one)
        one.send("{}\n")
        one.close()
        one.close()
        one.send("{}\n")

        assert one.messages() == []


def test_what_a_pipe_does_not_take_at_once_follows_with_the_next_line(tmp_path: Path) -> None:
    long = "x" * 300_000
    with channel(tmp_path, sys.executable, "-c", ECHO) as one:
        one.send(line({"t": TOKEN, "node": 0, "order": long}))
        found: list[Any] = []

        def heard() -> bool:
            one.send("{}\n")
            found.extend(one.messages())
            return bool(found)

        assert until(heard)
        assert found[0]["order"] == long


def test_a_full_pipe_is_not_waited_for(tmp_path: Path) -> None:
    with channel(tmp_path, "sleep", "600") as one:
        for _ in range(100):
            one.send("x" * 4096)

        assert one.process.poll() is None


def test_the_start_has_the_environment_that_it_needs(tmp_path: Path) -> None:
    with channel(tmp_path, "sh", "-c", "echo mark is $MARK", MARK="here") as one:
        ended(one)

        assert one.last_words == ["mark is here"]


def test_a_program_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), channel(tmp_path, "no-such-launcher"):
        pass


def test_killed_it_takes_along_what_stands_behind_it(tmp_path: Path) -> None:
    behind = "import sys, time; print(1, flush=True); time.sleep(600)"
    with channel(tmp_path, "sh", "-c", '"$0" -c "$1" "$2"; true', sys.executable, behind, str(tmp_path)) as one:
        assert until(lambda: len(left(tmp_path)) == 2)
        one.kill()

        assert until(lambda: not left(tmp_path))


def test_a_log_that_cannot_be_written_leaves_the_last_words(tmp_path: Path) -> None:
    with channel(tmp_path / "gone", "echo", "hello") as one:
        ended(one)

        assert one.last_words == ["hello"]


ROOT = Path(__file__).resolve().parents[3]


class Broken(io.RawIOBase):
    """A stream that cannot be read."""

    def readline(self, *_: object) -> bytes:
        raise OSError(5, "Input/output error")


def test_messages_come_in_order_and_heartbeats_and_nonsense_are_none() -> None:
    lifeline = ControlReader(io.BytesIO(b'Welcome!\n{"order":1}\n{}\n[1]\n{"go":2}\n'))

    assert [lifeline.next(5.0), lifeline.next(5.0), lifeline.next()] == [{"order": 1}, {"go": 2}, None]
    assert until(lambda: lifeline.lost(1000.0) == GONE)


def test_a_stream_that_cannot_be_read_is_a_session_that_is_gone() -> None:
    lifeline = ControlReader(Broken())

    assert until(lambda: lifeline.lost(1000.0) == GONE)


def test_silence_is_a_loss_and_any_line_ends_it() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as pipe:
        lifeline = ControlReader(stream)
        assert lifeline.lost(1000.0) == ""
        assert until(lambda: lifeline.lost(0.2).startswith(f"{UNHEARD} for "))

        pipe.write(b"{}\n")

        assert until(lambda: lifeline.lost(10.0) == "")
        pipe.close()
        assert until(lambda: lifeline.lost(10.0) == GONE)


def spoken(message: str, line_bytes: int) -> list[bytes]:
    """The lines in which another process says a message."""
    program = (
        "import sys; from trainer.launch.protocol import ControlWriter; "
        f"ControlWriter('token', 3, {line_bytes}).send({{'text': {message!r}}})"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=str(ROOT), stdout=subprocess.PIPE, check=True)
    return done.stdout.splitlines(keepends=True)


@pytest.mark.parametrize("text", ["short", "x" * 5000, 'é\n"\\' * 2000, "\U0001f600" * 500])
def test_every_line_carries_token_and_node_and_none_is_longer_than_it_may_be(text: str) -> None:
    assembler = Assembler()

    records = [parse(one) for one in spoken(text, 1024)]
    whole = [assembler.take(record) for record in records if record is not None]

    assert all(len(one) <= 1024 for one in spoken(text, 1024))
    assert all(record is not None and (record["t"], record["node"]) == ("token", 3) for record in records)
    assert [one["text"] for one in whole if one is not None] == [text]


def test_a_session_that_is_gone_is_no_error_of_the_agents() -> None:
    program = (
        "from trainer.launch.protocol import ControlWriter; "
        "assert not ControlWriter('token', 3, 4096).send({'text': 'x' * 200000})"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=str(ROOT), stdout=subprocess.PIPE) as process:
        process.stdout.close()  # type: ignore[union-attr]

        assert process.wait(60) == 0
