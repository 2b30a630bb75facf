"""What people copy from README and docs/ci.md is what they need: jobs that parse, options that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from expected import METRICS
from fixtures.options.session import add_options
from tests.support import ROOT

READMES = ("README.md", "README.zh-CN.md", "docs/options.md")
GATE = (
    'pytest -m r300 --topo 1x8 --data="$COCO" --backbone="$BACKBONE" --baseline site.toml --junitxml=report.xml --gate'
)

OTHERS = {
    *("--junitxml", "--collect-only", "--help"),  # pytest's own
    *("--benchmark-json", "--benchmark-compare"),  # pytest-benchmark's
    *("--out", "--shm-size"),  # of the project's commands, and of docker
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/ci.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_gitlab_job_gates_and_keeps_the_evidence_of_a_failure() -> None:
    (job,) = (yaml.safe_load(block)["r300-gate"] for block in blocks("yaml") if "artifacts:" in block)

    assert GATE in job["script"]
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"] == {"junit": "report.xml"}
    assert "runs/" in job["artifacts"]["paths"]


def test_the_github_job_gates_and_keeps_the_evidence_of_a_failure() -> None:
    (workflow,) = (yaml.safe_load(block) for block in blocks("yaml") if "runs-on:" in block)

    steps: list[dict[str, Any]] = workflow["jobs"]["r300-gate"]["steps"]
    assert GATE in [step.get("run") for step in steps]
    (kept,) = (step for step in steps if "upload-artifact" in step.get("uses", ""))
    assert kept["if"] == "always()"
    assert {"report.xml", "runs/"} <= set(kept["with"]["path"].split())


def test_the_jenkins_pipeline_gates_and_keeps_the_evidence_of_a_failure() -> None:
    (pipeline,) = blocks("groovy")

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
    assert readme != "docs/options.md" or ours.names <= shown
    assert {"--topo", "--gate", "--data", "--replay", "--baseline"} <= shown


@pytest.mark.parametrize("readme", READMES[:2])
def test_a_readme_is_read_in_one_go(readme: str) -> None:
    assert len((ROOT / readme).read_text(encoding="utf-8").splitlines()) <= 150


def test_both_readmes_print_the_same_commands_and_name_every_metric() -> None:
    english, chinese = ((ROOT / readme).read_text(encoding="utf-8") for readme in READMES[:2])

    commands = r"^    (?:pytest|python3?|pip) .*$"
    assert re.findall(commands, english, re.MULTILINE) == re.findall(commands, chinese, re.MULTILINE) != []
    assert [name for name in METRICS for text in (english, chinese) if f"| `{name}`" not in text] == []


def test_the_index_of_documents_lists_each() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}

    assert set(re.findall(r"\]\((\w[\w-]*\.md)\)", (ROOT / "docs/README.md").read_text(encoding="utf-8"))) == pages
