"""What an agent hears and says, through real pipes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.launch.launches import until
from trainer.launch.lifeline import GONE, UNHEARD, Lifeline
from trainer.launch.messages import Assembler, parse

ROOT = Path(__file__).resolve().parents[3]


class Broken(io.RawIOBase):
    """A stream that cannot be read."""

    def readline(self, *_: object) -> bytes:
        raise OSError(5, "Input/output error")


def test_messages_come_in_order_and_heartbeats_and_nonsense_are_none() -> None:
    lifeline = Lifeline(io.BytesIO(b'Welcome!\n{"order":1}\n{}\n[1]\n{"go":2}\n'))

    assert [lifeline.next(5.0), lifeline.next(5.0), lifeline.next()] == [{"order": 1}, {"go": 2}, None]
    assert until(lambda: lifeline.lost(1000.0) == GONE)


def test_a_stream_that_cannot_be_read_is_a_session_that_is_gone() -> None:
    lifeline = Lifeline(Broken())

    assert until(lambda: lifeline.lost(1000.0) == GONE)


def test_silence_is_a_loss_and_any_line_ends_it() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as pipe:
        lifeline = Lifeline(stream)
        assert lifeline.lost(1000.0) == ""
        assert until(lambda: lifeline.lost(0.2).startswith(f"{UNHEARD} for "))

        pipe.write(b"{}\n")

        assert until(lambda: lifeline.lost(10.0) == "")
        pipe.close()
        assert until(lambda: lifeline.lost(10.0) == GONE)


def spoken(message: str, line_bytes: int) -> list[bytes]:
    """The lines in which another process says a message."""
    program = (
        "import sys; from trainer.launch.lifeline import Voice; "
        f"Voice('token', 3, {line_bytes}).say({{'text': {message!r}}})"
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
    program = "from trainer.launch.lifeline import Voice; Voice('token', 3, 4096).say({'text': 'x' * 200000})"
    with subprocess.Popen([sys.executable, "-c", program], cwd=str(ROOT), stdout=subprocess.PIPE) as process:
        process.stdout.close()  # type: ignore[union-attr]

        assert process.wait(60) == 0
