"""The session's end of a launch, against agents that follow a script and against real ones on this host."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.trainer.launch.launches import (
    control_for,
    ended,
    fake_agent,
    hello,
    left,
    order_for,
    polled,
    real_agent,
    seen_through,
    until,
)
from trainer.launch import control as control_module
from trainer.launch.control import Control, Ending, new_token
from trainer.launch.launchers import Start
from trainer.launch.workdir import SESSION_FILE

WAIT_FOR_STOP = {"wait": "stop"}
GO = {"wait": "go"}


def log_of(folder: Path) -> str:
    return (folder / "session" / "launcher.log").read_text()


def archive(name: str, data: bytes) -> tuple[dict[str, Any], list[Any]]:
    """The step that sends a file of evidence in one piece, and what is then said to be sent."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        file.addfile(member, io.BytesIO(data))
    text = buffer.getvalue()
    return {"say": {"evidence": base64.b64encode(text).decode()}}, [len(text), hashlib.sha256(text).hexdigest()]


@pytest.fixture
def hasty(monkeypatch: Any) -> None:
    """Wait for nothing longer than a test wants to."""

    monkeypatch.setattr(control_module, "_OWN_WORDS_S", 0.5)
    monkeypatch.setattr(control_module, "_STOP_S", 1.0)


# With agents that follow a script


def test_hosts_that_are_ready_are_told_where_they_meet_and_end_well(tmp_path: Path) -> None:
    starts = [fake_agent(node, hello(node), GO, ended()) for node in (0, 1)]

    ending = seen_through(control_for(tmp_path, starts))

    assert ending == Ending(0)
    for node in (0, 1):
        assert f'gpu-{node}: heard go: {{"address": "10.0.0.1", "port": 29500}}' in log_of(tmp_path)
    assert not (tmp_path / "session" / SESSION_FILE).exists()
    assert left(tmp_path) == []


def test_a_rendezvous_that_was_given_is_the_one(tmp_path: Path) -> None:
    seen_through(control_for(tmp_path, [fake_agent(0, hello(), GO, ended())], rendezvous=("10.9.9.9", 31000)))

    assert 'heard go: {"address": "10.9.9.9", "port": 31000}' in log_of(tmp_path)


def test_one_that_is_not_ready_is_waited_for(tmp_path: Path) -> None:
    starts = [fake_agent(0, hello(), GO, ended()), fake_agent(1, {"sleep": 600})]
    control = control_for(tmp_path, starts)
    control.begin()
    try:
        assert polled(control, lambda: control.status() == "waiting for gpu-1")
        assert (control.started, control.ending) == (False, None)
    finally:
        control.end("enough", now=_set())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"off_s": 3600.0}, "gpu-1: its clock is 3600 s ahead of this machine's, expected at most 5 s"),
        ({"off_s": -3600.0}, "gpu-1: its clock is 3600 s behind this machine's"),
        ({"host": "host-0"}, "gpu-0 and gpu-1 are one machine: each calls itself host-0"),
        ({"problems": ["torch is missing"]}, "gpu-1: torch is missing"),
    ],
)
def test_hosts_that_do_not_fit_are_a_failure_of_the_preflight(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    starts = [fake_agent(0, hello(), WAIT_FOR_STOP), fake_agent(1, hello(1, **changes), WAIT_FOR_STOP)]
    control = control_for(tmp_path, starts)

    ending = seen_through(control)

    assert (ending.phase, ending.exit_code, control.started) == ("preflight", None, False)
    assert says in ending.message
    assert "gpu-0: its clock" not in ending.message


def test_a_reason_that_several_hosts_have_is_said_once(tmp_path: Path) -> None:
    problems = ["torch is missing", "no data"], ["torch is missing"], []
    starts = [fake_agent(node, hello(node, problems=own), WAIT_FOR_STOP) for node, own in enumerate(problems)]

    ending = seen_through(control_for(tmp_path, starts))

    assert ending.message == "gpu-0, gpu-1: torch is missing; gpu-0: no data"


def test_a_host_of_another_version_is_named(tmp_path: Path) -> None:
    ending = seen_through(control_for(tmp_path, [fake_agent(0, hello(colour="red"), WAIT_FOR_STOP)]))

    assert ending == Ending(None, "boot", "gpu-0 has another version of the suite; bring all hosts to the same")


def test_a_program_that_is_not_there_is_a_failed_boot(tmp_path: Path) -> None:
    ending = seen_through(control_for(tmp_path, [Start(["no-such-launcher", "x"], (0,), "gpu-0")]))

    assert ending.phase == "boot"
    assert ending.message == "'no-such-launcher' cannot be started on this machine: No such file or directory"


def test_a_program_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    ending = seen_through(control_for(tmp_path, [Start(["sh", "-c", "echo no such container >&2; exit 3"], (0,), "g")]))

    assert ending.phase == "boot"
    assert ending.message == "g: no agent could be started: sh ended with code 3: no such container"


def test_one_that_ends_without_a_word_is_said_to(tmp_path: Path) -> None:
    ending = seen_through(control_for(tmp_path, [Start(["true"], (0,), "gpu-0")]))

    assert "true ended with code 0: it said nothing" in ending.message


def test_what_ssh_says_is_explained(tmp_path: Path) -> None:
    words = ["sh", "-c", "echo 'Host key verification failed.' >&2; exit 255"]

    ending = seen_through(control_for(tmp_path, [Start(words, (0,), "gpu-0")]))

    assert "Host key verification failed. (this machine does not know the host's key" in ending.message


def test_a_host_that_does_not_answer_in_time_is_given_up_with_its_last_words(tmp_path: Path, hasty: None) -> None:
    starts = [fake_agent(0, hello(), WAIT_FOR_STOP), fake_agent(1, {"complain": "queued"}, {"sleep": 600})]

    ending = seen_through(control_for(tmp_path, starts, timeout_s=1))

    assert ending.phase == "boot"
    assert ending.message.startswith("no answer within 1 s (--launch-timeout): waiting for gpu-1")
    assert left(tmp_path) == []


def test_an_agent_that_ends_before_it_is_ready_says_why(tmp_path: Path) -> None:
    ending = seen_through(control_for(tmp_path, [fake_agent(0, ended(None, "/runs cannot be made"))]))

    assert ending == Ending(None, "boot", "gpu-0: /runs cannot be made")


def test_garbage_is_no_message_and_is_kept(tmp_path: Path) -> None:
    garbage = "Welcome!\n" + json.dumps({"t": "other", "node": 0, **ended(1)["say"]}) + "\n{\n"

    ending = seen_through(control_for(tmp_path, [fake_agent(0, {"raw": garbage}, hello(), GO, ended())]))

    assert ending == Ending(0)
    assert log_of(tmp_path).startswith("gpu-0: Welcome!\n")


@pytest.mark.parametrize("node", [-1, 1, "0", None, True])
def test_a_message_of_no_host_of_this_run_is_nothing(tmp_path: Path, node: Any) -> None:
    foreign = {"say": {**ended(7)["say"], "node": node}}

    assert seen_through(control_for(tmp_path, [fake_agent(0, hello(), GO, foreign, ended())])) == Ending(0)


def test_torchruns_code_is_the_runs_on_one_host_without_its_name(tmp_path: Path) -> None:
    ending = seen_through(control_for(tmp_path, [fake_agent(0, hello(), GO, ended(3))]))

    assert ending == Ending(3, "run", "torchrun ended with code 3")


def test_a_host_that_ended_badly_is_the_reason_though_another_goes_on(tmp_path: Path, hasty: None) -> None:
    starts = [fake_agent(0, hello(), GO, WAIT_FOR_STOP, ended(None, "stopped")), fake_agent(1, hello(1), GO, ended(1))]

    ending = seen_through(control_for(tmp_path, starts))

    assert ending == Ending(1, "run", "gpu-1: torchrun ended with code 1")


def test_a_reason_comes_before_the_code_that_follows_from_it(tmp_path: Path) -> None:
    starts = [fake_agent(0, hello(), GO, ended(1)), fake_agent(1, hello(1), GO, ended(None, "told to end by SIGTERM"))]

    ending = seen_through(control_for(tmp_path, starts))

    assert ending == Ending(None, "run", "gpu-1: told to end by SIGTERM")


def test_a_host_that_does_not_end_after_the_others_is_named(tmp_path: Path, monkeypatch: Any, hasty: None) -> None:
    monkeypatch.setattr(control_module, "_ALL_ENDED_S", 0.5)
    starts = [fake_agent(0, hello(), GO, ended()), fake_agent(1, hello(1), GO, {"sleep": 600})]

    ending = seen_through(control_for(tmp_path, starts))

    assert ending == Ending(None, "run", "gpu-1 did not end although the other hosts had; its ranks were ended")


def test_an_agent_that_vanishes_in_the_middle_of_a_run_is_a_failure_of_the_run(tmp_path: Path) -> None:
    steps = [hello(), GO, {"complain": "Timeout, server gpu-0 not responding."}, {"exit": 255}]

    ending = seen_through(control_for(tmp_path, [fake_agent(0, *steps)]))

    assert ending.phase == "run"
    assert "gpu-0: the connection to its agent was lost" in ending.message
    assert "ended with code 255" in ending.message
    assert "check the host and the network to it" in ending.message


def test_a_full_disk_is_said_with_its_host(tmp_path: Path) -> None:
    ending = seen_through(control_for(tmp_path, [fake_agent(0, hello(), GO, ended(1, free_bytes=0), name="gpu-0")]))

    assert ending.disk_full == f"the disk that holds {tmp_path / 'session'} on gpu-0 is full (0 bytes are free)"


def test_evidence_that_was_sent_lies_in_the_runs_folder_and_is_confirmed(tmp_path: Path) -> None:
    data = b'{"event":"end"}\n'
    piece, sent = archive("rank-0000.jsonl", data)
    steps = [hello(shared=False), GO, piece, ended(sent=sent)]

    ending = seen_through(control_for(tmp_path, [fake_agent(0, *steps, {"wait": "done"})]))

    assert ending == Ending(0)
    assert (tmp_path / "session" / "rank-0000.jsonl").read_bytes() == data
    assert 'heard done: {"again": false}' in log_of(tmp_path)


WHOLE, SENT = archive("rank-0000.jsonl", b"{}\n")
FOREIGN, SENT_FOREIGN = archive("../run.json", b"{}")


@pytest.mark.parametrize(
    ("first", "sent", "says"),
    [
        (WHOLE, [SENT[0], ""], f"{SENT[0]} bytes of it arrived, which are not what was sent"),
        ({"sleep": 0}, SENT, "0 bytes of it arrived"),
        (FOREIGN, SENT_FOREIGN, "it has a file named '../run.json'"),
    ],
)
def test_evidence_that_is_not_complete_is_a_failure_and_is_not_confirmed(
    tmp_path: Path, hasty: None, first: Any, sent: Any, says: str
) -> None:
    steps = [hello(shared=False), GO, first, ended(sent=sent), {"wait": "done"}]
    control = control_for(tmp_path, [fake_agent(0, *steps)])

    ending = seen_through(control)

    assert ending.phase == "run"
    assert ending.message.startswith(f"the evidence of gpu-0 is not complete: {says}")
    assert control.left_behind == f"the evidence of gpu-0 is still there, in {tmp_path / 'session'}"
    assert "heard done" not in log_of(tmp_path)


@pytest.mark.parametrize(("shared", "left_there"), [(True, False), (False, True)])
def test_evidence_of_a_host_that_was_lost_is_said_to_be_there(tmp_path: Path, shared: bool, left_there: bool) -> None:
    control = control_for(tmp_path, [fake_agent(0, hello(shared=shared), GO, {"exit": 255})])

    ending = seen_through(control)

    assert "the connection to its agent was lost" in ending.message
    assert bool(control.left_behind) == left_there


def test_a_host_that_is_stopped_sends_its_evidence_before_it_is_ended(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(control_module, "_STOP_S", 1.0)
    piece, sent = archive("rank-0000.jsonl", b"{}\n")
    slow = [{"say": {"evidence": ""}}, {"sleep": 0.7}] * 3
    steps = [hello(shared=False), GO, {"wait": "stop"}, *slow, piece, ended(None, "stopped", sent=sent)]
    control = control_for(tmp_path, [fake_agent(0, *steps, {"wait": "done"})])
    control.begin()
    try:
        assert polled(control, lambda: control.started)
    finally:
        control.end("enough")

    assert (tmp_path / "session" / "rank-0000.jsonl").read_text() == "{}\n"
    assert control.left_behind == ""


@pytest.mark.parametrize(("again", "code", "expected"), [(True, 1, "true"), (True, 0, "false"), (False, 1, "false")])
def test_a_host_keeps_its_checkpoints_only_if_a_broken_run_goes_on(
    tmp_path: Path, again: bool, code: int, expected: str
) -> None:
    control = control_for(tmp_path, [fake_agent(0, hello(), GO, ended(code), {"wait": "done"})])
    control.begin(again=again)
    try:
        assert polled(control, lambda: control.ending)
    finally:
        control.end("the run is over", again=again)

    assert f'heard done: {{"again": {expected}}}' in log_of(tmp_path)


def test_the_stacks_of_all_hosts_come_in_the_order_of_their_ranks(tmp_path: Path) -> None:
    def report(rank: int) -> dict[str, Any]:
        return {"say": {"stacks": [{"rank": rank, "pid": 1, "state": "stopped", "problem": ""}]}}

    starts = [
        fake_agent(node, hello(node), GO, {"wait": "stacks"}, report(rank), WAIT_FOR_STOP, ended(None, "stopped"))
        for node, rank in ((0, 4), (1, 0))
    ]
    control = control_for(tmp_path, starts)
    control.begin()
    try:
        assert polled(control, lambda: control.started)
        assert [one["rank"] for one in control.stacks()] == [0, 4]
    finally:
        control.end("stalled")


def test_several_hosts_behind_one_process_are_told_apart(tmp_path: Path) -> None:
    # As srun does: what it hears goes to all, and what all say comes out of it.
    program = (
        "import json, os, sys, time\n"
        "order = json.loads(sys.stdin.readline())['order']\n"
        "for step in json.loads(sys.argv[1]):\n"
        "    step['t'] = order['token']\n"
        "    if 'hello' in step: step['hello']['utc_s'] = time.time()\n"
        "    print(json.dumps(step), flush=True)\n"
        "    if 'hello' in step and step['node'] == 1:\n"
        "        while 'go' not in json.loads(sys.stdin.readline()): pass\n"
    )
    said = [{"node": node, **step["say"]} for step in () for node in (0, 1)]
    said += [{"node": node, **hello(node)["say"]} for node in (0, 1)]
    said += [{"node": 0, **ended()["say"]}, {"node": 1, **ended(5)["say"]}]
    start = Start([sys.executable, "-c", program, json.dumps(said)], (0, 1), "Slurm")

    ending = seen_through(control_for(tmp_path, [start]))

    assert ending == Ending(5, "run", "host-1: torchrun ended with code 5")


def _set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def test_a_second_signal_does_not_wait_for_agents_that_do_not_listen(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(control_module, "_STOP_S", 10_000.0)
    deaf = Start(["sh", "-c", f"trap '' TERM; sleep 1000; true {tmp_path}"], (0,), "gpu-0")
    control = control_for(tmp_path, [deaf, fake_agent(1, {"sleep": 600})])
    control.begin()
    hurry = threading.Event()
    threading.Timer(0.5, hurry.set).start()

    control.end("enough", now=hurry)

    assert left(tmp_path) == []


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}

    assert len(tokens) == 100
    assert all(len(token) >= 32 for token in tokens)


# With real agents


def real(tmp_path: Path, *flags: str, **changes: Any) -> Control:
    """A launch on this host whose run's folder the agent shares."""
    run_dir = tmp_path / "session"
    order = order_for(tmp_path, f"cd:{run_dir}", *flags, **{"run_dir": str(run_dir), **changes})
    order.flags.pop(0)
    return control_for(tmp_path, [real_agent(tmp_path)], order)


@pytest.mark.integration
def test_a_real_agent_runs_torchrun_and_ends_well(tmp_path: Path) -> None:
    assert seen_through(real(tmp_path, "write:rank-0000.jsonl={}")) == Ending(0)
    assert (tmp_path / "session" / "rank-0000.jsonl").read_text() == "{}\n"
    assert left(tmp_path) == []


@pytest.mark.integration
def test_evidence_comes_from_a_host_with_its_own_file_system(tmp_path: Path) -> None:
    text = "x" * 100_000
    order = order_for(tmp_path, f"write:rank-0000.jsonl={text}", "say:over", "exit:3")
    control = control_for(tmp_path, [real_agent(tmp_path)], order)

    ending = seen_through(control)

    assert (ending.exit_code, ending.phase) == (3, "run")
    assert (tmp_path / "session" / "rank-0000.jsonl").read_text() == f"{text}\n"
    assert (tmp_path / "session" / "host-0000.log").read_text() == "over\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.integration
@pytest.mark.parametrize("prefix", [("sh", "-c", 'exec "$@" < /dev/null', "prefix")])
def test_a_prefix_that_does_not_hand_the_lifeline_on_is_told_what_to_do(tmp_path: Path, prefix: Any) -> None:
    start = real_agent(tmp_path, prefix=prefix)

    ending = seen_through(control_for(tmp_path, [start]))

    assert ending.phase == "boot"
    assert "standard input was closed at once" in ending.message
    assert "docker exec -i NAME" in ending.message


@pytest.mark.integration
def test_a_prefix_that_says_something_first_disturbs_nobody(tmp_path: Path) -> None:
    prefix = ("sh", "-c", 'echo Loading modules...; exec "$@"', "prefix")
    order = order_for(tmp_path, "exit:0", run_dir=str(tmp_path / "session"))
    order.flags.pop(0)

    ending = seen_through(control_for(tmp_path, [real_agent(tmp_path, prefix=prefix)], order))

    assert ending == Ending(0)
    assert "this host: Loading modules..." in log_of(tmp_path)


def begun(control: Control, tmp_path: Path) -> psutil.Process:
    """Let a launch go and return the agent's process, whose torchrun does not hear SIGTERM."""
    control.begin()
    assert polled(control, (tmp_path / "session" / "begun").exists), control.ending
    (agent,) = [one for one in psutil.Process().children() if "trainer.launch.agent" in one.cmdline()]
    assert [child for child in agent.children() if "torch.distributed.run" in child.cmdline()]
    return agent


@pytest.mark.integration
@pytest.mark.parametrize("hurry", [False, True])
def test_nothing_is_left_of_an_agent_that_is_stopped(tmp_path: Path, hasty: None, hurry: bool) -> None:
    control = real(tmp_path, "deaf:", "write:begun=1", "sleep:600")
    try:
        os.kill(begun(control, tmp_path).pid, signal.SIGSTOP)
    finally:
        control.end("enough", now=_set() if hurry else None)

    assert until(lambda: not left(tmp_path)), left(tmp_path)


@pytest.mark.integration
def test_an_agent_that_is_killed_is_a_failure_of_the_run(tmp_path: Path) -> None:
    control = real(tmp_path, "write:begun=1", "sleep:600")
    try:
        begun(control, tmp_path).kill()
        assert polled(control, lambda: control.ending)
        assert control.ending is not None
        assert control.ending.phase == "run"
        assert "the connection to its agent was lost: sh ended with code -9" in control.ending.message
    finally:
        control.end("the run is over")
    assert until(lambda: not left(tmp_path))


@pytest.mark.integration
def test_the_heartbeat_keeps_an_agent_that_would_end_in_silence(tmp_path: Path) -> None:
    control = real(tmp_path, "write:begun=1", "sleep:5", silence_s=2.5)

    assert seen_through(control) == Ending(0)
