"""Two hosts can tell whether they have the same trainer."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from trainer.launch import source
from trainer.launch.source import PROGRAM_FOLDER, source_digest


def test_the_program_is_started_where_the_trainer_lies() -> None:
    assert (PROGRAM_FOLDER / "trainer" / "__main__.py").is_file()


def test_the_digest_stands_for_the_text_of_every_module(tmp_path: Path, monkeypatch: Any) -> None:
    before = source_digest()
    for part in ("evidence", "trainer"):
        shutil.copytree(str(PROGRAM_FOLDER / part), str(tmp_path / part))
    monkeypatch.setattr(source, "PROGRAM_FOLDER", tmp_path)

    elsewhere = source_digest()
    with (tmp_path / "trainer" / "launch" / "agent.py").open("a") as module:
        module.write("\n")
    changed = source_digest()
    (tmp_path / "trainer" / "launch" / "agent.py").rename(tmp_path / "trainer" / "agent.py")

    assert re.fullmatch("[0-9a-f]{12}", before)
    assert elsewhere == before
    assert len({before, changed, source_digest()}) == 3
