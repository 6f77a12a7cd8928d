"""The page of a sweep, as text."""

import html
import json
import re

import pytest

from lightning_colorize.reports.sweep import write_report
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.status import best, format_value, rows
from lightning_colorize.sweeps.trial import Outcome
from tests.reports.html import (
    content,
    figures,
    headings,
    requests_another_site,
    section,
    table,
)
from tests.reports.sweep.conftest import score
from tests.sweeps.conftest import finish


@pytest.fixture(scope="module")
def text(report):
    return content(report.read_text(encoding="utf-8"))


def page_of(study):
    return content(write_report(study).read_text(encoding="utf-8"))


def test_the_page_is_beside_the_runs_and_requests_nothing(report, study, text):
    assert report == study.folder / "report.html"
    assert not requests_another_site(text)
    assert "default-src 'none'" in text
    assert figures(text) == []
    assert f"lightning-colorize dashboard --study '{study.folder}'" in html.unescape(text)
    assert re.search("15 trials: 12 finished, 1 failed, 1 pruned, 1 running. Time: 0:", text)


def test_the_leaderboard_has_the_finished_trials_in_their_order(study, text):
    finished = [row for row in rows(study) if row.state == "finished"]
    finished.sort(key=lambda row: -row.value)
    cells = table(section(text, "results"))
    assert [line[0] for line in cells] == [str(rank) for rank in range(1, 13)]
    assert [line[1] for line in cells] == [format_value(row.value) for row in finished]
    assert [line[7] for line in cells] == [str(row.number) for row in finished]
    first = finished[0]
    assert cells[0][2] == "unet"
    assert cells[0][3] == json.dumps(first.values["model.betas"])
    assert cells[0][4] == f"{first.values['model.noise']:.4g}"
    assert cells[0][9:] == [f"{1000 + first.number:,}", "7,654,321"]


PSNR, FINISHED = {"name": "val/psnr", "goal": "maximize"}, Outcome("finished")
BASELINES = {"grey": {"val/psnr": 20.0}, "mean": {"val/psnr": None}, "lut": {"val/psnr": 22.25}}


@pytest.mark.parametrize(
    ("parameters", "value", "message"),
    [
        ({"x": [1]}, 22.0, "The best trial does not beat lut: val/psnr 22.00, lut 22.25"),
        ({"x": [1]}, 23.0, None),
        ({"x": [1], "seed_everything": [1, 2]}, 22.0, "The best configuration does not beat lut"),
    ],
)
def test_baselines_are_below_the_leaderboard(engine, parameters, value, message):
    study = engine.study(parameters)
    finish(study, *[value] * study.sweep.trial_count, baselines=BASELINES)
    results = section(page_of(study), "results")
    foot = re.search(r"<tfoot>(.*?)</tfoot>", results, re.DOTALL)[1]
    lines = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in foot.split("</tr>")[:-1]]
    assert [line[:2] for line in lines] == [["grey", "20.00"], ["lut", "22.25"]]
    assert lines[0][2] == "baseline: no color at all"
    # They are as wide as the table.
    assert re.findall(r'colspan="(\d+)"', foot) == [str(len(headings(results)) - 2)] * 2
    assert ("does not beat" in results) == (message is not None)
    assert message is None or message in results


def test_the_winner_can_be_trained_again(study, text):
    winner = best(rows(study), "max")
    shown = html.unescape(section(text, "winner"))
    assert f"Trial {winner.number}," in shown
    assert re.search(r"<pre[^>]*>python[\d.]* fit.py --config 'a b.yaml' --data.size=64 ", shown)
    assert f"lightning-colorize fit --config '{winner.folder}/config.yaml'" in shown


def test_images_are_side_by_side_in_the_order_of_the_leaderboard(study, text):
    finished = {row.number: score(row.values) for row in rows(study) if row.state == "finished"}
    best_five = sorted(finished, key=finished.get, reverse=True)[:5]
    shown = section(text, "images")
    assert shown.count("<h3>") == 2
    labels = re.findall(r'alt="beach.jpg, ([^"]*)"', shown)
    assert labels == ["grey", *(f"trial {n}" for n in best_five), "truth"]
    labels = re.findall(r'alt="street.jpg, ([^"]*)"', shown)
    assert labels == ["grey", f"trial {best_five[0]}", "truth"]
    assert re.findall("ΔE 1[\\d.]+", shown) == [
        "ΔE 11.2",
        *(f"ΔE {11.2 + i}" for i in range(1, 5)),
        "ΔE 11.2",
    ]


def test_no_text_becomes_markup(text):
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "tiny <&>" not in text


def test_seeds_are_one_row_with_an_interval(engine):
    study = engine.study({"x": [1, 2], "seed_everything": [7, 8, 9]})
    trials = TrialQueue(study)
    # Seeds change slower than x, which comes last in the alphabet.
    values = {(1, 7): 22.0, (1, 8): 23.0, (1, 9): 24.0, (2, 7): 25.0}
    for _ in range(6):
        trial = trials.take()
        value = values.get((trial.values["x"], trial.values["seed_everything"]))
        outcome = Outcome("failed", reason="boom") if value is None else Outcome("finished", value)
        trials.tell(trial, outcome)
    text = page_of(study)
    single, group = table(section(text, "results"))
    assert single[:6] == ["1", "25.00", "", "", "1<small>2 missing</small>", "2"]
    assert group[:7] == ["2", "23.00", "1.0", "[20.52, 25.48]", "3", "1", "9, 8, 7"]
    assert "1 of 2 configurations was trained once" in section(text, "results")
    assert "In 1 of them, trials of other seeds failed" in section(text, "results")


def test_a_metric_to_minimize(engine):
    metric = {"name": "val/loss", "goal": "minimize"}
    study = engine.study({"x": [1, 2]}, metric=metric)
    finish(study, 3.0, 2.0)
    text = page_of(study)
    assert [line[1] for line in table(section(text, "results"))] == ["2.000", "3.000"]
    assert "lower is better" in text


@pytest.mark.parametrize(("metric", "message"), [(PSNR, "No trial"), (None, "no metric")])
def test_a_sweep_without_a_ranking(engine, metric, message):
    study = engine.study({"x": [1, 2], "seed_everything": [3, 4]}, metric=metric)
    trials = TrialQueue(study)
    trials.tell(trials.take(), Outcome("failed", reason="boom") if metric else FINISHED)
    text = page_of(study)
    assert message in section(text, "results")
    assert "1 trial: 1 f" in text
    assert section(text, "images") == section(text, "winner") == ""
