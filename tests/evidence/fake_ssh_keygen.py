"""`ssh-keygen -Y sign` and `-Y verify` where there is no OpenSSH: exit codes and messages are those of OpenSSH 9.2.

A key is a file with a word in it, and its public half is that word: nothing is secret here. The tests of signatures run
with the real program too, where there is one.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Sequence

_HEAD, _TAIL = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


def main(words: Sequence[str]) -> int:
    """Run `ssh-keygen` with these words and return its exit code."""
    (what, *rest) = words[1:]
    given = dict(zip(rest[::2], rest[1::2]))
    if "-n" not in given:
        return _fail(f"Too few arguments for {what}: missing namespace", 1)
    if what == "sign":
        key = Path(given["-f"])
        if not key.is_file():
            return _fail(f"Couldn't load public key {key}: No such file or directory")
        print("Signing data on standard input", file=sys.stderr)
        print(_HEAD, _signature(key.read_text(), given["-n"], sys.stdin.buffer.read()), _TAIL, sep="\n")
        return 0
    sealed, signature = sys.stdin.buffer.read(), Path(given["-s"]).read_text().split("\n")
    if signature[0] != _HEAD:
        return _fail("Couldn't parse signature: missing header")
    lines = [line.split() for line in Path(given["-f"]).read_text().splitlines() if line.strip()]
    keys = [words[-1] for words in lines if words[0] == given["-I"]]
    if signature[1] not in [_signature(key, given["-n"], sealed) for key in keys]:
        print("Could not verify signature.")
        return _fail("Signature verification failed: incorrect signature")
    print(f'Good "{given["-n"]}" signature for {given["-I"]} with ED25519 key SHA256:{keys[0]}')
    return 0


def _signature(key: str, namespace: str, sealed: bytes) -> str:
    return hashlib.sha256(f"{key}\n{namespace}\n".encode() + sealed).hexdigest()


def _fail(text: str, code: int = 255) -> int:
    print(text, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
