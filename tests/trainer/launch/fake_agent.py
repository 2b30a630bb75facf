"""Stands for an agent: speaks to the session through its pipes, saying only what its script has, step by step.

The words are a node's number and the steps as JSON: {"say": message} with the order's token, {"raw": text},
{"complain": text} on stderr, {"wait": key} for a message that has it, {"sleep": seconds}, {"exit": code}.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def heard(key: str) -> Any:
    """Return what the next message with `key` says; without one, the session is gone."""
    for text in iter(sys.stdin.readline, ""):
        message = json.loads(text)
        if key in message:
            return message[key]
    sys.exit(9)


def play(node: int, steps: list[dict[str, Any]]) -> None:
    """Follow the script."""
    token = heard("order")["token"]
    for step in steps:
        ((what, text),) = step.items()
        if what == "say":
            if "hello" in text and text["hello"].get("utc_s") is None:
                text["hello"]["utc_s"] = time.time() + text["hello"].pop("off_s", 0.0)
            print(json.dumps({"t": token, "node": node, **text}), flush=True)
        elif what == "raw":
            sys.stdout.write(text)
            sys.stdout.flush()
        elif what == "complain":
            print(text, file=sys.stderr, flush=True)
        elif what == "wait":
            found = heard(text)
            print(f"heard {text}: {json.dumps(found)}", file=sys.stderr, flush=True)
        elif what == "sleep":
            time.sleep(text)
        else:
            sys.exit(text)


if __name__ == "__main__":
    play(int(sys.argv[1]), json.loads(sys.argv[2]))
