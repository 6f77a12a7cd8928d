"""The page of a sweep, as text."""

import html
import json
import re

import pytest

from lightning_colorize.reports import sweep
from lightning_colorize.reports.sweep import write_report
from lightning_colorize.sweeps.status import format_value, leaderboard, rows
from tests.reports.html import content, headings, requests_another_site, section, table
from tests.reports.sweep.conftest import score
from tests.sweeps.conftest import run_trials


@pytest.fixture(scope="module")
def text(report):
    return content(report.read_text(encoding="utf-8"))


def page_of(study):
    return content(write_report(study).read_text(encoding="utf-8"))


def test_the_page_is_beside_the_runs_and_requests_nothing(report, study, text):
    assert report == study.folder / "report.html"
    assert not requests_another_site(text)
    assert "default-src 'none'" in text
    assert f"lightning-colorize dashboard --study '{study.folder}'" in html.unescape(text)
    assert re.search("15 trials: 12 finished, 1 failed, 1 pruned, 1 running. Time: 0:", text)


def test_the_leaderboard_has_the_finished_trials_in_their_order(study, text):
    finished = [row for row in rows(study) if row.state == "finished"]
    finished.sort(key=lambda row: -row.value)
    cells = table(section(text, "results"))
    assert [line[0] for line in cells] == [str(rank) for rank in range(1, 13)]
    assert [line[1] for line in cells] == [format_value(row.value) for row in finished]
    assert [line[-2] for line in cells] == [str(row.number) for row in finished]
    first = finished[0]
    assert cells[0][2:6] == ["", "", "1", "unet"]
    assert cells[0][6] == json.dumps(first.values["model.betas"])
    assert cells[0][7] == f"{first.values['model.noise']:.4g}"


BASELINES = {"grey": {"val/psnr": 20.0}, "mean": {"val/psnr": None}, "lut": {"val/psnr": 22.25}}


def test_baselines_are_below_the_leaderboard(engine):
    study = engine.study({"x": [1], "seed_everything": [1, 2]})
    run_trials(study, 22.0, 22.0, baselines=BASELINES)
    results = section(page_of(study), "results")
    foot = re.search(r"<tfoot>(.*?)</tfoot>", results, re.DOTALL)[1]
    lines = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in foot.split("</tr>")[:-1]]
    assert [line[:2] for line in lines] == [["grey", "20.00"], ["lut", "22.25"]]
    assert lines[0][2] == "baseline: no color at all"
    # They are as wide as the table.
    assert re.findall(r'colspan="(\d+)"', foot) == [str(len(headings(results)) - 2)] * 2
    assert "The best configuration does not beat lut" in results


def test_the_winner_can_be_trained_again(study, text):
    winner = leaderboard(rows(study), "max")[0].trials[0]
    shown = html.unescape(section(text, "winner"))
    assert f"Trial {winner.number}," in shown
    assert f"lightning-colorize fit --config '{winner.folder}/config.yaml'" in shown
    assert f"lightning-colorize colorize INPUT OUTPUT --checkpoint '{winner.folder}'" in shown


def test_a_missing_dashboard_is_named_with_its_extra(study, monkeypatch):
    monkeypatch.setattr(sweep, "find_spec", lambda name: None)
    assert "uv run --extra cluster lightning-colorize dashboard --study" in page_of(study)


def test_images_are_side_by_side_in_the_order_of_the_leaderboard(study, text):
    finished = {row.number: score(row.values) for row in rows(study) if row.state == "finished"}
    best_five = sorted(finished, key=finished.get, reverse=True)[:5]
    shown = section(text, "images")
    assert shown.count("<h3>") == 2
    for name, trials in (("beach", best_five), ("street", best_five[:1])):
        labels = re.findall(rf'alt="{name}.jpg, ([^"]*)"', shown)
        assert labels == ["grey", *(f"trial {number}" for number in trials), "truth"]
    notes = re.findall("ΔE 1[\\d.]+", shown)
    assert notes == [*(f"ΔE {11.2 + i:.1f}" for i in range(5)), "ΔE 11.2"]


def test_no_text_becomes_markup(text):
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "tiny <&>" not in text


def test_seeds_are_one_row_with_an_interval(engine):
    study = engine.study({"x": [1, 2], "seed_everything": [7, 8, 9]})
    # Seeds change slower than x, which comes last in the alphabet.
    run_trials(study, 22.0, 25.0, 23.0, "boom", 24.0, "boom")
    results = section(page_of(study), "results")
    single, group = table(results)
    assert single[:6] == ["1", "25.00", "", "", "1<small>2 missing</small>", "2"]
    assert group[:7] == ["2", "23.00", "1.0", "[20.52, 25.48]", "3", "1", "4, 2, 0"]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"name": "val/loss", "goal": "minimize"}, "No trial has finished."),
        (None, "The sweep has no metric, so its trials are not ranked."),
    ],
)
def test_a_sweep_without_a_ranking(engine, metric, message):
    study = engine.study({"x": [1, 2], "seed_everything": [3, 4]}, metric=metric)
    run_trials(study, "boom" if metric else 0.0)
    text = page_of(study)
    assert message in section(text, "results")
    assert ("lower is better" in text) == (metric is not None)
    assert section(text, "images") == section(text, "winner") == ""
