"""A real agent on this host, told what to do as a session does, with a torchrun that only acts as one."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator

import psutil
import pytest

from evidence.files import SCHEMA
from evidence.run_file import Boot, Broken, Run, RunCell, write_run
from tests.trainer.launch.launches import TOKEN, left, order_for, real_agent, until
from trainer.launch.hosts import free_port
from trainer.launch.launchers import PROGRAM_FOLDER
from trainer.launch.leases import Leases
from trainer.launch.protocol import Order, line
from trainer.launch.workdir import SESSION_FILE, Receiver

pytestmark = pytest.mark.integration

GO = {"go": {"address": "127.0.0.1", "port": 29500}}


class Session:
    """The session's end of an agent's pipes."""

    def __init__(self, folder: Path, node: int = 0, **environment: str) -> None:
        start = real_agent(folder, node)
        self.process = subprocess.Popen(
            start.command,
            cwd=str(PROGRAM_FOLDER),
            env={**os.environ, **start.added, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.said: list[dict[str, Any]] = []
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for text in iter(self.process.stdout.readline, b""):  # type: ignore[union-attr]
            self._lines.put(text)

    def send(self, message: Any) -> None:
        text = message if isinstance(message, str) else line(message)
        self.process.stdin.write(text.encode())  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]

    def hear(self, key: str) -> Any:
        """Return what the next message with `key` says."""
        while True:
            message = json.loads(self._lines.get(timeout=60))
            assert message["t"] == TOKEN
            self.said.append(message)
            if key in message:
                return message[key]

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]

    def hello(self, order: Order) -> Any:
        self.send(order.line())
        return self.hear("hello")

    def ended(self) -> tuple[Any, str]:
        found = self.hear("ended")
        return found["exit_code"], found["reason"]

    def code(self) -> int:
        return self.process.wait(60)


@contextlib.contextmanager
def session(folder: Path, node: int = 0, **environment: str) -> Iterator[Session]:
    """Yield a session with an agent; at the end there must be nothing left of it."""
    one = Session(folder, node, **environment)
    try:
        yield one
        with contextlib.suppress(BrokenPipeError):
            one.close()
        assert until(lambda: not left(folder)), left(folder)
    finally:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The run's folder, with the session's mark: the file system is shared."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / SESSION_FILE).write_text(TOKEN)
    return folder


def test_it_says_hello_with_what_the_session_has_to_know(tmp_path: Path, run_dir: Path) -> None:
    with session(tmp_path) as agent:
        hello = agent.hello(order_for(tmp_path))

    assert (hello["host"], hello["problems"]) == (socket.gethostname(), [])
    assert hello["shared"] is True
    assert hello["pid"] == agent.process.pid
    assert 0 < hello["port"] < 65536


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backend": "nosuch"}, "there is no backend 'nosuch'"),
        ({"data": "/nowhere/coco"}, "/nowhere/coco: no such folder"),
        ({"backbone": "/nowhere/resnet50.pth"}, "/nowhere/resnet50.pth: no such file"),
        ({"source": "another"}, "another version of the suite"),
        ({"backend": "kunlunxin"}, "torch_xmlir is missing"),
        ({"backend": "virtual", "device_count": 1, "ranks_per_node": 2}, "check VIRTUAL_VISIBLE_DEVICES"),
    ],
)
def test_what_is_missing_on_a_host_is_said_before_anything_starts(
    tmp_path: Path, run_dir: Path, changes: dict[str, Any], says: str
) -> None:
    with session(tmp_path) as agent:
        (problem,) = agent.hello(order_for(tmp_path, **changes))["problems"]

    assert says in problem


def test_devices_in_use_are_a_problem_that_names_their_holder(tmp_path: Path, run_dir: Path) -> None:
    order = order_for(tmp_path, backend="virtual", devices=["1"], ranks_per_node=1, device_count=2)
    holder = Leases(tmp_path / "leases", "virtual", {"run": "/runs/other"})
    with holder, session(tmp_path) as agent:
        holder.take(["1"], [], 1)
        (problem,) = agent.hello(order)["problems"]

    assert f"device 1 of virtual is in use by pid {os.getpid()}" in problem
    assert "/runs/other" in problem


def test_ranks_see_the_devices_that_were_leased_and_no_others(tmp_path: Path, run_dir: Path) -> None:
    order = order_for(tmp_path, "environment:seen", backend="virtual", ranks_per_node=2, device_count=8)
    with Leases(tmp_path / "leases", "virtual", {}) as other, session(
        tmp_path, VIRTUAL_VISIBLE_DEVICES="7, 3,5"
    ) as agent:
        other.take(["3"], [], 1)
        cards = agent.hello(order)["devices"]
        agent.send(GO)
        assert agent.ended() == (0, "")

    assert cards == ["7", "5"]
    assert json.loads((run_dir / "seen").read_text())["VIRTUAL_VISIBLE_DEVICES"] == "7,5"


def test_leases_end_with_the_run(tmp_path: Path, run_dir: Path) -> None:
    order = order_for(tmp_path, "until:stop", backend="virtual", devices=["1"])
    mine = Leases(tmp_path / "leases", "virtual", {})
    with session(tmp_path) as agent:
        agent.hello(order)
        agent.send(GO)
        (run_dir / "stop").touch()
        agent.hear("ended")
        agent.code()

    assert mine.take(["1"], [], 1) == ["1"]
    mine.release()


def test_forwarded_variables_reach_the_ranks_and_do_not_change_what_is_set_there(tmp_path: Path, run_dir: Path) -> None:
    order = order_for(tmp_path, "environment:seen", environment={"NCCL_DEBUG": "INFO", "NCCL_ALGO": "Ring"})
    with session(tmp_path, NCCL_ALGO="Tree", PET_RDZV_ENDPOINT="master-0:29400") as agent:
        agent.hello(order)
        agent.send(GO)
        agent.hear("ended")

    seen = json.loads((run_dir / "seen").read_text())
    assert (seen["NCCL_DEBUG"], seen["NCCL_ALGO"]) == ("INFO", "Tree")
    assert "PET_RDZV_ENDPOINT" not in seen  # torchrun would take it for its option


def test_a_simulated_host_has_a_name_of_its_own_and_so_have_its_devices(tmp_path: Path, run_dir: Path) -> None:
    order = order_for(tmp_path, "environment:seen", backend="virtual", nodes=2, simulated_hosts=True)
    with session(tmp_path, node=1) as agent:
        hello = agent.hello(order)
        agent.send(GO)
        agent.hear("ended")

    name = f"{socket.gethostname()}-simulated-1"
    assert hello["host"] == name
    assert json.loads((run_dir / "seen").read_text())["VIRTUAL_HOST"] == name
    assert list((tmp_path / "leases").glob("virtual-1*"))


@pytest.mark.parametrize("code", [0, 3])
def test_torchruns_exit_code_is_told_and_is_the_agents_own(tmp_path: Path, run_dir: Path, code: int) -> None:
    with session(tmp_path) as agent:
        agent.hello(order_for(tmp_path, "say:hello from torchrun", f"exit:{code}"))
        agent.send(GO)

        assert agent.ended() == (code, "")
        assert agent.code() == code

    assert (run_dir / "host-0000.log").read_text() == "hello from torchrun\n"


def test_a_torchrun_that_was_killed_is_told_with_its_signal(tmp_path: Path, run_dir: Path) -> None:
    with session(tmp_path) as agent:
        agent.hello(order_for(tmp_path, "write:begun=1", "sleep:600"))
        agent.send(GO)
        assert until((run_dir / "begun").exists)
        (torchrun,) = psutil.Process(agent.process.pid).children()
        torchrun.kill()

        assert agent.ended() == (-signal.SIGKILL, "")


def test_closed_at_once_it_says_what_a_containers_command_has_to_do(tmp_path: Path) -> None:
    with session(tmp_path) as agent:
        agent.close()
        code, said = agent.code(), agent.process.stderr.read().decode()  # type: ignore[union-attr]

    assert code == 1
    assert "standard input was closed at once" in said
    assert "docker exec -i NAME" in said


def test_an_order_of_another_version_is_refused_in_words(tmp_path: Path) -> None:
    with session(tmp_path) as agent:
        agent.send("Welcome to gpu-7!\n")
        agent.send({"order": {"colour": "red"}})
        code, said = agent.code(), agent.process.stderr.read().decode()  # type: ignore[union-attr]

    assert code == 1
    assert said == (
        "agent of host 0: an order that this version does not know: the hosts have different versions of the suite\n"
    )


RUN = Run(SCHEMA, "run", RunCell("c", "cpu", "1x2", "fp32", 4, 0.1), "epoch", {}, False, "cpu", Boot())


def word_left(run_dir: Path) -> Any:
    return json.loads((run_dir / "run.json").read_text())["boot"]


def begin(agent: Session, order: Order, run_dir: Path) -> None:
    """Let the ranks go, which have left an orphan that hears no SIGTERM, and wait for them."""
    write_run(run_dir, RUN)
    flags = [*order.flags, f"orphan:{run_dir}", "write:begun=1", "sleep:600"]
    agent.hello(replace(order, flags=flags))
    agent.send(GO)
    assert until((run_dir / "begun").exists)
    assert len([words for words in left(run_dir) if "SIG_IGN" in words]) == 1


def test_when_the_session_is_gone_the_ranks_and_their_orphans_are_ended_and_the_run_is_marked(
    tmp_path: Path, run_dir: Path
) -> None:
    with session(tmp_path) as agent:
        begin(agent, order_for(tmp_path), run_dir)
        agent.close()
        agent.code()

        assert left(run_dir) == []

    failure = word_left(run_dir)["failure"]
    assert failure["phase"] == "aborted"
    assert failure["message"] == "the session that started this run is gone; the ranks were ended"


def test_silence_ends_the_ranks_and_is_said_while_a_heartbeat_keeps_them(tmp_path: Path, run_dir: Path) -> None:
    with session(tmp_path) as agent:
        begin(agent, order_for(tmp_path, silence_s=1.5), run_dir)
        for _ in range(10):
            agent.send("{}\n")
            threading.Event().wait(0.3)
        assert not [message for message in agent.said if "ended" in message]
        code, reason = agent.ended()

        assert code is None
        assert reason.startswith("nothing was heard of the session for ")
        agent.code()
        assert left(run_dir) == []
    assert word_left(run_dir)["failure"]["message"].startswith("nothing was heard")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_ranks_and_is_said(tmp_path: Path, run_dir: Path, number: signal.Signals) -> None:
    with session(tmp_path) as agent:
        agent.hello(order_for(tmp_path, "write:begun=1", "sleep:600"))
        agent.send(GO)
        assert until((run_dir / "begun").exists)
        agent.process.send_signal(number)

        assert agent.ended() == (None, f"its agent was ended by {number.name}")
        assert agent.code() == 1


def test_told_to_stop_it_says_why_it_ended_and_leaves_no_orphan(tmp_path: Path, run_dir: Path) -> None:
    with session(tmp_path) as agent:
        begin(agent, order_for(tmp_path), run_dir)
        agent.send({"stop": "enough"})

        assert agent.ended() == (None, "enough")
        agent.code()
        assert left(run_dir) == []
    # The session is there to say it itself.
    assert word_left(run_dir)["failure"] is None


def test_killed_it_takes_torchrun_along(tmp_path: Path, run_dir: Path) -> None:
    with session(tmp_path) as agent:
        agent.hello(order_for(tmp_path, "deaf:", "write:begun=1", "sleep:600"))
        agent.send(GO)
        assert until((run_dir / "begun").exists)
        agent.process.kill()
        agent.code()

        assert until(lambda: not left(run_dir))


def test_a_word_that_the_session_has_left_is_not_overwritten(tmp_path: Path, run_dir: Path) -> None:
    own = replace(RUN, boot=Boot(1, Broken("run", "mine")))
    with session(tmp_path) as agent:
        agent.hello(order_for(tmp_path, "write:begun=1", "sleep:600"))
        write_run(run_dir, own)
        before = (run_dir / "run.json").read_bytes()
        agent.send(GO)
        assert until((run_dir / "begun").exists)
        agent.close()
        agent.code()

    assert (run_dir / "run.json").read_bytes() == before


@pytest.mark.parametrize(("node", "nodes", "minds"), [(0, 2, True), (1, 2, False), (0, 1, False)])
def test_only_the_first_of_several_hosts_minds_that_the_port_is_taken(
    tmp_path: Path, run_dir: Path, node: int, nodes: int, minds: bool
) -> None:
    with contextlib.closing(socket.socket()) as taken, session(tmp_path, node=node) as agent:
        taken.bind(("", 0))
        taken.listen(1)
        agent.hello(order_for(tmp_path, nodes=nodes))
        agent.send({"go": {"address": "127.0.0.1", "port": taken.getsockname()[1]}})
        code, reason = agent.ended()

    assert (code is None, "Address already in use" in reason) == (minds, minds)


def test_asked_for_stacks_it_answers_though_there_is_no_rank(tmp_path: Path, run_dir: Path) -> None:
    with session(tmp_path) as agent:
        agent.hello(order_for(tmp_path, "until:stop"))
        agent.send(GO)
        agent.send({"stacks": True})

        assert agent.hear("stacks") == []
        (run_dir / "stop").touch()
        assert agent.ended() == (0, "")


def test_without_the_sessions_file_system_evidence_is_sent_when_the_ranks_have_ended(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / SESSION_FILE).write_text("another session's")
    (run_dir / "rank-0000.jsonl").write_text("of an attempt before, which the session has not received\n")
    order = order_for(
        tmp_path,
        "write:rank-0000.jsonl=one",
        "until:more",
        "write:rank-0000.jsonl=two",
        files={"plan.toml": "seed = 1"},
        attempt=2,
    )
    with session(tmp_path) as agent:
        assert agent.hello(order)["shared"] is False
        assert (run_dir / "plan.toml").read_text() == "seed = 1"
        agent.send(GO)
        while not agent.hear("progress")["sizes"]:
            pass
        assert not [message for message in agent.said if "evidence" in message]
        (run_dir / "more").touch()
        sent = agent.hear("ended")["sent"]
        agent.send({"done": {"again": False}})
        agent.code()

    here = tmp_path / "here"
    here.mkdir()
    receiver = Receiver(here)
    for message in agent.said:
        if "evidence" in message:
            receiver.take(message["evidence"])
    assert receiver.unpack(sent) == ""
    # An empty file is evidence too: the session would miss it.
    assert {path.name: path.read_text() for path in here.iterdir()} == {
        "rank-0000.jsonl": "one\ntwo\n",
        "host-0000.log": "",
        "attempt-1.rank-0000.jsonl": "of an attempt before, which the session has not received\n",
    }
    assert not run_dir.exists()


def test_for_another_attempt_only_the_evidence_is_removed(tmp_path: Path) -> None:
    with session(tmp_path) as agent:
        agent.hello(order_for(tmp_path, "write:rank-0000.jsonl=one", "write:checkpoint=1", "exit:1"))
        agent.send(GO)
        agent.hear("ended")
        agent.send({"done": {"again": True}})
        agent.code()

    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint"]


def test_evidence_that_the_session_has_not_confirmed_stays(tmp_path: Path) -> None:
    with session(tmp_path) as agent:
        agent.hello(order_for(tmp_path, "write:rank-0000.jsonl=one"))
        agent.send(GO)
        agent.hear("ended")
        agent.close()
        agent.code()

    assert (tmp_path / "run" / "rank-0000.jsonl").read_text() == "one\n"


def test_a_run_that_never_began_leaves_nothing_on_a_host_with_its_own_file_system(tmp_path: Path) -> None:
    with session(tmp_path) as agent:
        agent.hello(order_for(tmp_path, files={"plan.toml": "seed = 1"}))
        assert (tmp_path / "run" / "plan.toml").exists()
        agent.send({"stop": "another host is not ready"})
        assert agent.ended() == (None, "another host is not ready")
        agent.code()

    assert not (tmp_path / "run").exists()


def test_in_a_run_that_is_not_the_sessions_nothing_is_touched(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for name in ("run.json", "rank-0000.jsonl"):
        (run_dir / name).write_text("{}\n")
    with session(tmp_path) as agent:
        agent.send(order_for(tmp_path, files={"plan.toml": "seed = 1"}).line())
        code, reason = agent.ended()

    assert code is None
    assert "holds a run and not the session's mark" in reason
    assert sorted(path.name for path in run_dir.iterdir()) == ["rank-0000.jsonl", "run.json"]


def test_a_folder_that_cannot_be_made_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with session(tmp_path) as agent:
        agent.send(order_for(tmp_path, run_dir=str(tmp_path / "file" / "run")).line())
        _, reason = agent.ended()

    assert "cannot be made: Not a directory; choose another place with --runs" in reason


def test_a_generated_data_set_is_made_where_the_ranks_are(tmp_path: Path, run_dir: Path) -> None:
    shapes = {"folder": str(tmp_path / "made"), "parameters": {"seed": 1, "train_images": 4, "val_images": 2}}
    with session(tmp_path) as agent:
        hello = agent.hello(order_for(tmp_path, data="/nowhere", shapes=shapes))

    assert hello["problems"] == []
    assert list((tmp_path / "made").rglob("instances_train2017.json"))


def test_an_error_of_its_own_is_the_last_that_it_says(tmp_path: Path, run_dir: Path) -> None:
    (run_dir / "host-0000.log").mkdir()
    with session(tmp_path) as agent:
        agent.hello(order_for(tmp_path))
        agent.send({"go": {"address": "127.0.0.1", "port": free_port()}})
        code, said = agent.code(), agent.process.stderr.read().decode()  # type: ignore[union-attr]

    assert code == 1
    assert said.strip().splitlines()[-1].startswith("IsADirectoryError")
