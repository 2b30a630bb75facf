"""What people copy from the README is what they need: CI snippets that parse, options and files that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from fixtures.options.session import add_options
from tests.support import ROOT

READMES = ("README.md", "README.zh-CN.md")
GATE = 'pytest -m r300 --topo 1x8 --data="$COCO" --backbone="$BACKBONE" --gate --junitxml=report.xml'

OTHERS = {
    *("--junitxml", "--collect-only"),  # pytest's own
    *("--benchmark-json", "--benchmark-compare"),  # pytest-benchmark's
    *("--out", "--shm-size"),  # of the project's commands, and of docker
}


def blocks(readme: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("readme", READMES)
def test_the_gitlab_job_gates_and_keeps_the_evidence_of_a_failure(readme: str) -> None:
    (job,) = (yaml.safe_load(block)["r300-gate"] for block in blocks(readme, "yaml") if "artifacts:" in block)

    assert GATE in job["script"]
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"] == {"junit": "report.xml"}
    assert "runs/" in job["artifacts"]["paths"]


@pytest.mark.parametrize("readme", READMES)
def test_the_github_job_gates_and_keeps_the_evidence_of_a_failure(readme: str) -> None:
    (workflow,) = (yaml.safe_load(block) for block in blocks(readme, "yaml") if "runs-on:" in block)

    steps: list[dict[str, Any]] = workflow["jobs"]["r300-gate"]["steps"]
    assert GATE in [step.get("run") for step in steps]
    (kept,) = (step for step in steps if "upload-artifact" in step.get("uses", ""))
    assert kept["if"] == "always()"
    assert {"report.xml", "runs/"} <= set(kept["with"]["path"].split())


@pytest.mark.parametrize("readme", READMES)
def test_the_jenkins_pipeline_gates_and_keeps_the_evidence_of_a_failure(readme: str) -> None:
    (pipeline,) = blocks(readme, "groovy")

    assert f"sh '{GATE}'" in pipeline
    always = pipeline[pipeline.index("always {") :]
    assert "junit 'report.xml'" in always
    assert "runs/**" in always
    assert pipeline.count("{") == pipeline.count("}")


class Group:
    """Takes the place of pytest's group of options and keeps their names."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def getgroup(self, *_: str) -> Group:
        return self

    def addoption(self, name: str, **_: Any) -> None:
        self.names.add(name)


@pytest.mark.parametrize("readme", READMES)
def test_every_option_that_is_shown_exists(readme: str) -> None:
    ours = Group()
    add_options(ours)
    text = (ROOT / readme).read_text(encoding="utf-8")

    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))

    assert shown - ours.names - OTHERS == set()
    assert {"--topo", "--gate", "--data", "--replay", "--history"} <= shown
