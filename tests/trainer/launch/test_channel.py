"""Only what an agent says is a message; whatever else comes out of a launcher's process is kept and shown."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.trainer.launch.launches import TOKEN, left, until
from trainer.launch.channel import Channel
from trainer.launch.messages import line, lines
from trainer.launch.starts import Start

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
