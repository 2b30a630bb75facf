"""`python -m tests.mutants run NAMES...`: mutmut, which skips decorated functions, mutates registered ones too.

`@check("clocks-agree")`, `@rank_check` and `@metric` return the function itself, so that it can be registered at the
end of the module as well; what is registered there is the trampoline that mutmut makes of the function.
"""

from __future__ import annotations

import re
from typing import Any

from mutmut import __main__ as mutmut

_REGISTERED = re.compile(r"^@((?:check|rank_check|metric)\(.*\))\ndef (\w+)", re.MULTILINE)

_mutate = mutmut.mutate_file_contents


def registered_below(code: str) -> str:
    """The module with its registrations at the end; every line of a function stays where it is."""
    calls = [f"{call}({name})\n" for call, name in _REGISTERED.findall(code)]
    return "".join([_REGISTERED.sub(r"#\ndef \2", code), *calls])


def _mutate_registered(filename: str, code: str, *lines: Any) -> Any:
    return _mutate(filename, registered_below(code), *lines)


if __name__ == "__main__":
    mutmut.mutate_file_contents = _mutate_registered
    mutmut.cli()
