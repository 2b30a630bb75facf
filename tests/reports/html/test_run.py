"""The page of a run says what its evidence says, whole or broken."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any, Callable

import pytest

from evidence.codec import encode
from evidence.text import visible
from evidence.verdict import Verdict
from expected import Recipe, Topology
from reports.html.pages import run_page, running_page
from reports.html.texts import LANGUAGES, in_language
from tests.reports.html.runs import HOSTILE, TWO_RANKS, all_readings, page_of, page_of_stored
from tests.verdict.bundles import CPU, EPOCH, STEADY, Bundle, Plan, build
from trainer.optimizations import ledger
from trainer.settings import Settings

DRAWN = ("loss", "map", "rate", "rank-rate", "steps")
READ = ("memory", "power-w", "temperature-c", "use-percent", "core-clock-mhz", "memory-clock-mhz")


def charts_of(html: str) -> dict[str, Any]:
    (data,) = re.findall(r'<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)
    read: dict[str, Any] = json.loads(data)
    return read


def text_of(html: str) -> str:
    main = html[html.index("<main") : html.index("</main>")]
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", main)))


def test_the_verdict_comes_first_and_every_metric_has_its_bound_and_interval(tmp_path: Path) -> None:
    text = text_of(run_page(page_of(tmp_path)))

    assert re.match(r" . fail R300 1x2 fp32 bs4 lr0.02 Result A metric or another answer that decides is outside", text)
    assert "p_core throughput of compute alone ✗ fail" in text
    assert ">= 190.0 images/s" in text
    assert re.search(r"1[0-9.]+ to 1[0-9.]+ images/s", text)
    assert text.index("Verdict") < text.index("How it went") < text.index("Where the time went")


def test_a_metric_with_a_bound_has_a_picture_that_says_the_same_in_words(tmp_path: Path) -> None:
    html = run_page(page_of(tmp_path))

    assert re.findall(r'aria-label="(\w+) [^"]* (?:inside|outside); (?:&gt;|&lt;)= ', html) == [
        "p_core",
        "map",
        "mem",
    ]


def test_every_chart_has_its_place_its_data_and_a_summary(tmp_path: Path) -> None:
    html = run_page(page_of(tmp_path, bundle=all_readings()))

    charts = charts_of(html)
    assert set(charts) == {*DRAWN, *READ}
    for name in charts:
        assert f'class="plot" id="{name}" role="img"' in html
        assert re.search(rf'id="{name}-summary">[^<]{{15,}}</p>', html)


def test_evaluations_checkpoints_stalls_and_warm_up_are_marked(tmp_path: Path) -> None:
    full = charts_of(run_page(page_of(tmp_path / "full", bundle=all_readings())))
    steady = charts_of(run_page(page_of(tmp_path / "steady", STEADY)))

    signs = [mark["sign"] for mark in full["rate"]["marks"]]
    assert (signs.count("E"), signs.count("C"), signs.count("S")) == (3, 2, 1)
    assert [mark["sign"] for mark in steady["rate"]["marks"]] == ["W"]
    assert steady["rate"]["marks"][0]["end"] <= 0


def test_the_ledger_is_given_in_seconds_and_in_percent(tmp_path: Path) -> None:
    of = page_of(tmp_path)

    text = text_of(run_page(of))

    rank = of.run.evidence.ranks[0]
    assert rank.train_end is not None
    assert rank.train_begin_ns is not None
    compute_ns, wall_ns = rank.train_end.ledger["compute_ns"], rank.train_end.t_ns - rank.train_begin_ns
    assert f"{compute_ns / 1e9:.1f} s {compute_ns / wall_ns:.1%}" in text


def test_a_rank_that_is_slower_than_the_others_is_named(tmp_path: Path) -> None:
    text = text_of(run_page(page_of(tmp_path)))

    assert re.search(r"1 node0 1 [0-9.]+ \+10.0 % slow", text)
    assert re.search(r"0 node0 0 [0-9.]+ −9.1 % -?", text)


def test_what_no_tool_read_is_named_and_not_drawn(tmp_path: Path) -> None:
    html = run_page(page_of(tmp_path))

    assert set(charts_of(html)) == {*DRAWN, "memory"}
    assert "Not read by xpu_smi: power, temperature, use, core clock, memory clock." in text_of(html)


def test_a_reading_that_is_absent_for_a_while_is_a_gap(tmp_path: Path) -> None:
    bundle = all_readings()
    for sample in bundle.telemetry[4:14]:
        del sample["power_w"]

    charts = charts_of(run_page(page_of(tmp_path, bundle=bundle)))

    values = charts["power-w"]["series"][0]["values"]
    assert None in values
    assert 0 not in values


def test_a_device_that_was_slowed_down_is_named(tmp_path: Path) -> None:
    html = run_page(page_of(tmp_path, bundle=all_readings()))

    assert re.search(
        r"node0 device 0 said in 1 samples that it was slowed down, first at [0-9.]+ s: thermal", text_of(html)
    )
    assert "T" in {mark["sign"] for mark in charts_of(html)["memory"]["marks"]}


def test_of_many_ranks_the_slowest_stands_out(tmp_path: Path) -> None:
    plan = replace(TWO_RANKS, topology=Topology(2, 4), slower={5: 1.2})

    series = charts_of(run_page(page_of(tmp_path, plan)))["rank-rate"]["series"]

    assert [one["tone"] for one in series] == ["muted"] * 7 + ["culprit"]
    assert series[-1]["label"] == "rank 5"


def test_the_culprit_has_one_colour_in_every_chart_and_table(tmp_path: Path) -> None:
    plan = replace(TWO_RANKS, topology=Topology(2, 4), slower={5: 1.2})

    html = run_page(page_of(tmp_path, bundle=all_readings(plan), plan=plan))

    singled = {
        name: [one["label"] for one in chart["series"] if one["tone"] == "culprit"]
        for name, chart in charts_of(html).items()
    }
    assert {name: found for name, found in singled.items() if found} == {
        "rank-rate": ["rank 5"],
        **{name: ["node1 device 1"] for name in READ},
    }
    assert html.count('<tr class="culprit">') == 3


def test_on_a_tie_nobody_is_named_and_no_line_stands_out(tmp_path: Path) -> None:
    plan = replace(TWO_RANKS, topology=Topology(2, 4), slower={})

    html = run_page(page_of(tmp_path, plan))

    assert {one["tone"] for one in charts_of(html)["memory"]["series"]} == {"muted"}
    assert "The highest median is that of" not in text_of(html)
    assert '<tr class="culprit">' not in html


def test_bound_and_published_number_are_lines_in_the_charts_of_throughput(tmp_path: Path) -> None:
    charts = charts_of(run_page(page_of(tmp_path)))

    assert [(one["label"], one["value"]) for one in charts["rate"]["levels"]] == [
        ("bound of p_core 190.0", 190),
        ("published 200.0 images/s", 200),
    ]
    assert [one["value"] for one in charts["rank-rate"]["levels"]] == [95, 100]


def test_the_head_has_gate_amount_cause_next_step_and_what_identifies_the_run(tmp_path: Path) -> None:
    bundle = build(TWO_RANKS)
    bundle.run.update(under_test={"driver": "4.0.31"}, started_utc="2026-11-23T10:12:00Z")
    bundle.run["boot"]["elapsed_s"] = 128_000
    gate = "GATE: FAIL  r300-1x2-fp32-bs4: p_core"

    text = text_of(run_page(page_of(tmp_path, bundle=bundle, gate=gate, release="4.0.31-rc2")))

    head = text[: text.index(" Verdict ")]
    assert re.search(
        r"Gate GATE: FAIL r300-1x2-fp32-bs4: p_core Result .* By how much p_core .* outside its bound", head
    )
    assert re.search(r"Cause rank 1 \(device 1 of node0\) .* Next step Measure each device alone", head)
    assert "date 2026-11-23 10:12 UTC duration 35 h 33 min" in head
    assert "release under test 4.0.31-rc2; driver 4.0.31 cell r300-1x2-fp32-bs4" in head


def test_epochs_are_counted_from_1(tmp_path: Path) -> None:
    html = run_page(page_of(tmp_path))

    assert charts_of(html)["map"]["categories"] == ["before", "1", "2"]
    assert "best 0.3800 after epoch 2" in text_of(html)


def test_a_run_that_has_not_ended_is_running_and_nothing_of_it_is_invalid(tmp_path: Path) -> None:
    bundle = build(TWO_RANKS)
    never_ended(bundle)
    bundle.run.update(ended_utc="", boot={"exit_code": None})
    of = page_of(tmp_path, bundle=bundle)

    html = running_page(of, refresh_s=30)

    assert of.run.verdict.outcome is Verdict.INVALID
    assert re.match(r" … running R300 1x2", text_of(html))
    assert "<title>running: R300 1x2 fp32 bs4 lr0.02</title>" in html
    assert '<meta http-equiv="refresh" content="30">' in html
    assert "invalid" not in text_of(html[: html.index('id="h-training"')] + "</main>")
    assert "refresh" not in run_page(of)[:2000]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_in_the_language_that_was_asked_for(tmp_path: Path, language: str) -> None:
    with in_language(language):
        html = run_page(page_of(tmp_path))

    assert f'<html lang="{language}">' in html
    assert ("计算吞吐量" in html, "By how much" in html) == (language == "zh", language == "en")


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (TWO_RANKS, "model: fasterrcnn_resnet18_fpn_small, the benchmark's is fasterrcnn_resnet50_fpn"),
        (STEADY, "--steps: 120 measured steps, no whole epoch"),
        (EPOCH, "protocol: epoch, the benchmark's is full"),
        (replace(TWO_RANKS, epochs=2), "--epochs: 2 at most, the recipe's are 4"),
        (replace(TWO_RANKS, restarts=1), "--max-restarts: started again after attempt 1 broke off (run: rank 1 ended)"),
        (replace(TWO_RANKS, simulated=True), "device: simulated"),
        (replace(TWO_RANKS, recipe=Recipe()), "data: 926 images to train on and 128 to evaluate, COCO 2017 has"),
    ],
)
def test_every_deviation_from_the_benchmark_is_told(tmp_path: Path, plan: Plan, told: str) -> None:
    assert told in text_of(run_page(page_of(tmp_path, plan)))


def test_every_item_of_the_optimization_ledger_is_shown_with_its_state(tmp_path: Path) -> None:
    bundle = build(TWO_RANKS)
    settings = Settings(tmp_path, tmp_path, pretrained_backbone=False, without=("boxes_only",))
    items = encode(ledger(settings, {"static_graph": "there is <one> rank"}))
    start = bundle.one("start")
    bundle.ranks[0].insert(1, {"event": "optimizations", "t_ns": start["t_ns"], "items": items})
    for said in (bundle.run, start, bundle.one("start", rank=1)):
        said["without"] = ["boxes_only"]

    text = text_of(run_page(page_of(tmp_path, TWO_RANKS, bundle)))

    for item in items:
        assert re.search(rf"{item['name']} +{'on' if item['on'] else 'off'}", text), item["name"]
    assert "off: switched off" in text
    assert "off: there is <one> rank" in text
    assert "optimizations switched off: boxes_only" in text


def test_a_precision_that_the_table_does_not_list_is_a_deviation(tmp_path: Path) -> None:
    of = page_of(tmp_path)
    verdict = of.run.verdict
    verdict = replace(verdict, cell=replace(verdict.cell, precision="bf16", topology="1x8"))

    text = text_of(run_page(replace(of, run=replace(of.run, verdict=verdict))))

    assert re.search(r"precision: bf16, the table lists [a-z0-9, ]*fp32", text)


def test_weights_and_image_size_of_a_smoke_run_are_deviations(tmp_path: Path) -> None:
    plan = replace(STEADY, recipe=Recipe(), pixels=128 * 192)
    bundle = build(plan)
    bundle.run["protocol"] = "smoke"
    for rank in bundle.ranks:
        bundle.one("start", rank).update(protocol="smoke", sides=[128, 171])

    text = text_of(run_page(page_of(tmp_path, plan, bundle)))

    assert "protocol: smoke, the benchmark's is full" in text
    assert "--smoke: 120 measured steps, no whole epoch" in text
    assert "weights: drawn from the seed, the benchmark's backbone is trained on ImageNet" in text
    assert "image size: sides of 128 to 171 pixels, other than the model's" in text


def test_own_data_are_a_deviation_where_the_table_generates_its_own(tmp_path: Path) -> None:
    bundle = build(CPU)
    bundle.run["own_data"] = True

    html = run_page(page_of(tmp_path, CPU, bundle, device="cpu"))

    assert "--data: a data set of the user's own" in text_of(html)


def test_the_seal_is_shown_with_its_state(tmp_path: Path) -> None:
    sealed = page_of(tmp_path / "a")
    page_of(tmp_path / "b")
    with (tmp_path / "b" / "telemetry.jsonl").open("a") as stream:
        stream.write("\n")
    page_of(tmp_path / "c")
    (tmp_path / "c" / "SHA256SUMS").unlink()

    pages = [run_page(sealed), *(run_page(page_of_stored(tmp_path / name)) for name in "bc")]

    states = ["seal holds SHA256SUMS lists 4 files", "seal broken", "seal not there"]
    assert [state in text_of(page) for state, page in zip(states, pages)] == [True] * 3
    assert "telemetry.jsonl: changed since it was sealed" in text_of(pages[1])


def test_versions_that_differ_between_ranks_are_told_with_the_ranks(tmp_path: Path) -> None:
    bundle = build(TWO_RANKS)
    bundle.one("start", 1)["versions"] = {"python": "3.9"}

    assert "python 3.8 (ranks 0); 3.9 (ranks 1) -" in text_of(run_page(page_of(tmp_path, bundle=bundle)))


def test_the_commands_notes_and_folder_are_shown(tmp_path: Path) -> None:
    of = page_of(tmp_path, commands={"rerun": "pytest -m r300"}, notes=["waived: x"], folder="runs/y")

    text = text_of(run_page(of))

    assert "rerun pytest -m r300" in text
    assert "waived: x" in text
    assert "runs/y" in text


def no_ranks(bundle: Bundle) -> None:
    bundle.ranks.clear()


def no_telemetry(bundle: Bundle) -> None:
    bundle.telemetry.clear()


def no_steps(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.drop("window", rank)


def never_ended(bundle: Bundle) -> None:
    for event in ("train_end", "end", "memory", "epoch_end"):
        bundle.drop(event, 1)


def all_losses_nan(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window["loss"] = ["NaN"] * len(window["loss"])


def huge_numbers(bundle: Bundle) -> None:
    largest = 2**63 - 1
    for window in bundle.all("window"):
        window.update(wall_ns=largest, wait_ns=largest, forward_ns=largest, step=largest - 100)
        window["images"] = [largest] * len(window["images"])
        window["compute_ns"] = [-largest] * len(window["compute_ns"])


def nothing_took_time(bundle: Bundle) -> None:
    for rank, events in bundle.ranks.items():
        for event in events:
            event["t_ns"] = 0
        for window in bundle.all("window", rank):
            window.update(wall_ns=0, wait_ns=0, copy_ns=0, forward_ns=0, compute_ns=[0] * len(window["compute_ns"]))


def no_introduction(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.drop("start", rank)


def strange_evaluations(bundle: Bundle) -> None:
    for event, score in zip(bundle.all("eval_end"), ("NaN", "Infinity", "NaN")):
        event["map"] = score


def another_run_file(bundle: Bundle) -> None:
    bundle.run.update(recipe={"model": 7, "epochs": "many"}, environment=[1], boot={"exit_code": 1, "failure": {}})
    bundle.run.update(command=[{"a": 1}, None], id=HOSTILE)


@pytest.mark.parametrize(
    ("breaking", "told"),
    [
        (no_telemetry, "Not read: memory in use, power"),
        (never_ended, "Without a ledger, as they did not reach the end of their training: rank 1."),
        (all_losses_nan, "No loss is a finite number. 480 losses are not finite, the first on rank 0 in step 0."),
        (huge_numbers, "invalid"),
        (nothing_took_time, "No window has a rate."),
        (strange_evaluations, "Evaluations: 3;"),
        (another_run_file, "invalid"),
    ],
)
def test_broken_evidence_gives_a_page_that_says_so(
    tmp_path: Path, breaking: Callable[[Bundle], None], told: str
) -> None:
    bundle = build(TWO_RANKS)
    breaking(bundle)

    html = run_page(page_of(tmp_path, bundle=bundle))

    assert told in text_of(html)
    assert charts_of(html) is not None


def refused_in_preflight(bundle: Bundle) -> None:
    bundle.ranks.clear()
    bundle.telemetry.clear()
    bundle.run["boot"] = {"exit_code": None, "failure": {"phase": "preflight", "message": "--data DIR is missing"}}


@pytest.mark.parametrize(
    ("breaking", "sections"),
    [
        (refused_in_preflight, ["verdict", "recipe", "environment", "seal", "again"]),
        (no_steps, ["verdict", "training", "ledger", "devices", "probes", "recipe", "environment", "seal", "again"]),
        (no_introduction, ["verdict", "devices", "recipe", "environment", "seal", "again"]),
    ],
)
def test_a_section_without_content_is_left_out(
    tmp_path: Path, breaking: Callable[[Bundle], None], sections: list[str]
) -> None:
    bundle = build(TWO_RANKS)
    breaking(bundle)

    html = run_page(page_of(tmp_path, bundle=bundle))

    assert re.findall(r'<section aria-labelledby="h-(\w+)">', html) == sections


@pytest.mark.parametrize("name", ["run.json", "rank-0000.jsonl", "telemetry.jsonl"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.97])
def test_a_file_that_was_cut_off_gives_a_page_that_says_so(tmp_path: Path, name: str, kept: float) -> None:
    page_of(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(kept * len(content))])

    text = text_of(run_page(page_of_stored(tmp_path)))

    assert "The evidence cannot be trusted" in text
    assert f"{name}: changed since it was sealed" in text


def test_an_empty_folder_gives_a_page(tmp_path: Path) -> None:
    assert "seal not there" in text_of(run_page(page_of_stored(tmp_path)))


def test_text_from_outside_is_shown_unharmed_and_is_no_markup(tmp_path: Path) -> None:
    bundle = all_readings()
    for rank in bundle.ranks:
        bundle.one("start", rank).update(host=HOSTILE, device_name=HOSTILE, serial=HOSTILE, versions={HOSTILE: HOSTILE})
    bundle.telemetry[0].update(host=HOSTILE, source=HOSTILE, throttle=HOSTILE)
    bundle.telemetry.append({"t_ns": 1, "source": HOSTILE, "error": HOSTILE})
    of = page_of(tmp_path, bundle=bundle, folder=HOSTILE, notes=[HOSTILE], commands={HOSTILE: HOSTILE})

    html = run_page(replace(of, run=replace(of.run, cell=replace(of.run.cell, card=0))))

    assert html.count("<script") == 3
    assert "<img" not in html
    assert html.encode("utf-8")
    assert text_of(html).count(re.sub(r"\s+", " ", visible(HOSTILE))) > 8
