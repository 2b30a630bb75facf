"""What becomes a word of another program's command is a name and nothing else."""

from __future__ import annotations

import shlex
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.launch.names import check_hosts, check_rendezvous, split_rendezvous

PLAIN = string.ascii_letters + string.digits + "._:%-@"
MISCHIEF = " \t\n\r\0;&|<>$`\"'\\*?[](){}!#~=,/^+"


@pytest.mark.parametrize(
    "host",
    [
        *("gpu-07", "gpu07.example.org", "10.0.0.7", "localhost", "GPU_7", "7"),
        *("user@gpu-07", "svc_ci@10.0.0.7", "_builder@gpu", "first.last@gpu"),
        *("fe80::1%eth0", "2001:db8::7", "user@fe80::1%ib0"),
    ],
)
def test_what_people_call_their_machines_is_taken(host: str) -> None:
    assert check_hosts([host]) == ""


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", "-oProxyCommand=id", "-V", "user@-oProxyCommand=id", "@gpu", "user@", "a@b@c"),
        *("gpu 07", " gpu", "gpu\n", "gpu;id", "$(id)", "`id`", "gpu|id", "gpu/../x", "gpü", "gpu\u2028"),
    ],
)
def test_what_is_no_name_is_refused_and_shown(host: str) -> None:
    problem = check_hosts(["gpu-07", host])

    assert problem.startswith("--hosts: found ")
    assert repr(host) in problem
    assert "user@gpu-07" in problem


@given(st.text(), st.sampled_from(MISCHIEF), st.text())
def test_no_sign_that_means_something_to_a_shell_is_let_through(before: str, sign: str, after: str) -> None:
    assert check_hosts([before + sign + after]) != ""
    assert check_rendezvous(f"{before}{sign}{after}") != "" or sign in "[]"


@given(st.text(alphabet=PLAIN) | st.text())
def test_a_name_that_is_taken_needs_no_quotes_and_is_no_option(host: str) -> None:
    if check_hosts([host]) == "":
        assert shlex.quote(host) == host or "%" in host
        assert host.isascii()
        assert host == host.strip() != ""
        assert not host.startswith("-")
        assert not host.rpartition("@")[2].startswith("-")


def test_a_machine_that_is_named_twice_is_pointed_out() -> None:
    assert check_hosts(["b", "a", "b", "c", "a"]) == "--hosts: a, b is there twice; name each machine once"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", 0)),
        ("gpu-07", ("gpu-07", 0)),
        ("10.0.0.7:29500", ("10.0.0.7", 29500)),
        ("gpu-07.example.org:0", ("gpu-07.example.org", 0)),
        ("[fe80::1]:29500", ("fe80::1", 29500)),
        ("[::1]", ("::1", 0)),
        ("gpu:65535", ("gpu", 65535)),
    ],
)
def test_a_rendezvous_is_a_host_and_perhaps_a_port(text: str, expected: tuple[str, int]) -> None:
    assert check_rendezvous(text) == ""
    assert split_rendezvous(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "gpu:65536",
        "gpu:99999",
        "gpu:",
        ":29500",
        "gpu:-1",
        "gpu:port",
        "fe80::1",
        "-x:1",
        "a b",
        "gpu:29500\n",
        "gpu:٣",
    ],
)
def test_what_is_no_rendezvous_is_refused_and_shown(text: str) -> None:
    assert f"found {text!r}, expected HOST or HOST:PORT" in check_rendezvous(text)


@given(st.text(alphabet=PLAIN + "[]") | st.text())
def test_a_rendezvous_that_is_taken_can_be_split(text: str) -> None:
    if text and check_rendezvous(text) == "":
        host, port = split_rendezvous(text)
        assert host
        assert not host.startswith("-")
        assert host == "".join(host.split())
        assert 0 <= port <= 65535
