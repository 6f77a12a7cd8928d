"""The page of a sweep, as text."""

import html
import json
import re
import time
from dataclasses import replace

import optuna
import pytest
import yaml
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from lightning_colorize.search.labels import Labels, number
from lightning_colorize.search.outcome import Outcome
from lightning_colorize.search.report import best_trials, write_report
from lightning_colorize.search.report.plain_study import plain_study
from lightning_colorize.search.status import best, rows
from lightning_colorize.search.trials import Trials


@pytest.fixture(scope="module")
def text(report):
    """The page without its longest script."""
    return without_plotly(report)


def without_plotly(report):
    """Return a page without plotly's script, which it has once or never."""
    text = report.read_text(encoding="utf-8")
    scripts = re.findall(r"<script>.*?</script>", text, re.DOTALL)
    long = [script for script in scripts if len(script) > 1_000_000]
    assert len(long) == ("figures" in text)
    return text.replace(long[0], "") if long else text


def section(text, name):
    found = re.search(rf'<section id="{name}">.*?</section>', text, re.DOTALL)
    return found[0] if found else ""


def table(text):
    """Return the cells of the rows of the body of a table."""
    body = re.search(r"<tbody>(.*?)</tbody>", text, re.DOTALL)[1]
    lines = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL) for line in lines]


def figures(text):
    data = re.search(
        r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL
    )
    return json.loads(data[1])


def test_the_page_is_beside_the_runs_and_names_no_address(report, study, text):
    assert report == study.folder / "report.html"
    assert not re.search(r"(?:https?:)?//[\w-]+\.\w", text)
    assert "default-src 'none'" in text


def test_the_leaderboard_has_the_finished_trials_in_their_order(study, text):
    finished = [row for row in rows(study) if row.state == "finished"]
    finished.sort(key=lambda row: -row.value)
    cells = table(section(text, "results"))
    assert [line[0] for line in cells] == [str(rank) for rank in range(1, 13)]
    assert [line[1] for line in cells] == [number(row.value) for row in finished]
    assert [line[7] for line in cells] == [str(row.number) for row in finished]
    first = finished[0]
    assert cells[0][2] == "unet"
    assert cells[0][3] == json.dumps(first.values["model.betas"])
    assert cells[0][4] == f"{first.values['model.noise']:.4g}"
    assert cells[0][9:] == [f"{1000 + first.number:,}", "7,654,321"]


def test_what_has_not_finished_is_apart_with_its_reason(text):
    cells = table(section(text, "others"))
    assert [(line[0], line[1], line[2]) for line in cells] == [
        ("3", "failed", "exit code 1: &lt;boom&gt;"),
        ("4", "pruned", "hyperband: it is behind"),
        ("14", "running", ""),
    ]


def test_the_winner_can_be_trained_again(study, text):
    winner = best(rows(study), "maximize")
    shown = section(text, "winner")
    assert f"Trial {winner.number}," in shown
    assert f"number: {winner.number} # &lt;own&gt;" in shown
    assert re.search(
        r"<pre[^>]*>python[\d.]* fit.py --config 'a b.yaml' --data.size=64 ", html.unescape(shown)
    )
    assert f"lightning-colorize fit --config '{winner.folder}/config.yaml'" in html.unescape(shown)


def test_what_it_took_and_what_made_it(text):
    lines = {line[0]: line[1:] for line in table(section(text, "budgets"))}
    finished = [n for n in range(14) if n not in (3, 4)]
    assert lines["finished"][0] == "12"
    assert lines["finished"][2] == f"{sum(1000 + n for n in finished):,}"
    assert lines["all"][0] == "15"
    assert lines["all"][2] == f"{sum(1000 + n for n in finished):,} or more"
    method = section(text, "method")
    assert re.search(r"<dt>torch</dt>\s*<dd>9\.8\.7</dd>", method)
    assert re.search(r"<dt>commit</dt>\s*<dd>c0ffee</dd>", method)


def test_the_sweep_file_is_there(study, text):
    shown = re.search(r"<pre[^>]*>(.*?)</pre>", section(text, "file"), re.DOTALL)[1]
    assert yaml.safe_load(html.unescape(shown)) == study.sweep.source


def test_pictures_are_side_by_side_in_the_order_of_the_leaderboard(study, text):
    five = [row.number for row in best_trials(study)]
    assert len(five) == 5
    shown = section(text, "pictures")
    assert shown.count("<h3>") == 2
    alts = re.findall(r'alt="(beach.jpg), ([^"]*)"', shown)
    assert [who for _, who in alts] == ["grey", *(f"trial {n}" for n in five), "truth"]
    assert shown.count("ΔE 11.2") == 1


def test_no_text_becomes_markup(text):
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "tiny <&>" not in text


def test_charts_show_the_real_values(study, text):
    history, curves, importance, coordinates, *effects = figures(text)
    table = [row for row in rows(study) if row.state == "finished"]
    assert history["data"][0]["x"] == [row.number for row in table]
    assert len(curves["data"]) == 15 - 1  # but for the failed one
    assert sorted(importance["data"][0]["y"]) == ["betas", "encoder", "evil", "lr", "noise"]
    assert sum(importance["data"][0]["x"]) == pytest.approx(1)
    by_name = {figure["layout"]["xaxis"]["title"]["text"]: figure for figure in effects}
    assert by_name["encoder"]["layout"]["xaxis"]["categoryarray"] == ["r18", "unet"]
    assert set(by_name["betas"]["data"][0]["x"]) == {"[0.5, 0.9]", "[0.9, 0.999]"}
    assert by_name["noise"]["data"][0]["x"] == [row.values["model.noise"] for row in table]
    assert by_name["lr"]["layout"]["xaxis"]["type"] == "log"
    assert "noise" in json.dumps(coordinates)


def test_the_winners_curve_is_drawn_last_and_in_its_own_colour(study, text):
    lines = figures(text)[1]["data"]
    assert lines[-1]["name"] == f"trial {best(rows(study), 'maximize').number}"
    assert lines[-1]["line"]["color"] not in {line["line"]["color"] for line in lines[:-1]}


def test_numbers_of_trials_survive(study):
    metric = study.sweep.metric
    plain = plain_study(rows(study), study.sweep, metric, Labels(study.sweep))
    assert {t.number: t.value for t in plain.trials if t.state.name == "COMPLETE"} == {
        row.number: row.value for row in rows(study) if row.state == "finished"
    }
    assert plain.best_trial.number == best(rows(study), "maximize").number


def test_seeds_are_one_row_with_an_interval(engine):
    study = engine.study({"x": [1, 2], "seed_everything": [7, 8, 9]})
    trials = Trials(study)
    # Seeds change slower than x, which comes last in the alphabet.
    values = {(1, 7): 22.0, (1, 8): 23.0, (1, 9): 24.0, (2, 7): 25.0}
    for _ in range(6):
        trial = trials.take()
        value = values.get((trial.values["x"], trial.values["seed_everything"]))
        outcome = Outcome("failed", reason="boom") if value is None else Outcome("finished", value)
        trials.tell(trial, outcome)
    text = without_plotly(write_report(study))
    single, group = table(section(text, "results"))
    assert single[:6] == ["1", "25.00", "", "", "1", "2"]
    assert group[:7] == ["2", "23.00", "1.0", "[20.52, 25.48]", "3", "1", "9, 8, 7"]
    assert "1 of 2 configurations was trained once" in section(text, "results")
    assert "Left out: it takes 10 finished trials, and there are 4." in text


def test_less_is_better_where_that_is_the_goal(engine):
    metric = {"name": "val/loss", "goal": "minimize"}
    study = engine.study({"x": [1, 2]}, metric=metric)
    trials = Trials(study)
    for value in (3.0, 2.0):
        trials.tell(trials.take(), Outcome("finished", value))
    text = without_plotly(write_report(study))
    assert [line[1] for line in table(section(text, "results"))] == ["2.000", "3.000"]
    assert "less is better" in text
    assert "Left out: it takes two parameters that differ" in text
    assert "(only x)" in text


@pytest.mark.parametrize("outcome", [None, Outcome("failed", reason="boom")])
def test_a_sweep_of_which_nothing_has_finished(engine, outcome):
    study = engine.study({"x": [1, 2], "y": [3, 4]})
    if outcome is not None:
        trials = Trials(study)
        trials.tell(trials.take(), outcome)
    text = without_plotly(write_report(study))
    assert "No trial has finished." in text
    assert "Left out: it takes 2 finished trials, and there are 0." in text
    assert ("boom" in text) == (outcome is not None)


def test_a_sweep_without_a_metric(engine):
    study = engine.study({"x": [1, 2], "seed_everything": [3, 4]}, metric=None)
    trials = Trials(study)
    for _ in range(3):
        trials.tell(trials.take(), Outcome("finished"))
    text = without_plotly(write_report(study))
    lines = table(section(text, "results"))
    assert [line[:3] for line in lines] == [["0", "1", "3"], ["1", "2", "3"], ["2", "1", "4"]]
    assert section(text, "charts") == section(text, "winner") == ""
    assert best_trials(study) == []


@pytest.mark.slow
def test_a_sweep_of_500_trials_gives_a_page_of_a_few_megabytes_in_seconds(engine):
    names = "abcdefgh"
    parameters = {name: {"min": 0.0, "max": 1.0} for name in names}
    study = engine.study(parameters, method="random")
    # In memory: to store as many takes minutes.
    memory = optuna.create_study(direction="maximize")
    memory.add_trials(
        [
            create_trial(
                value=number / 500,
                params={name: (number * 0.6180339 * k) % 1 for k, name in enumerate(names, 1)},
                distributions={name: FloatDistribution(0, 1) for name in names},
                intermediate_values={index: number / 500 + index for index in range(20)},
            )
            for number in range(500)
        ]
    )
    study = replace(study, inner=memory, storage=memory._storage, id=memory._study_id)
    before = time.process_time()
    report = write_report(study)
    # Measured: 3 s.
    assert time.process_time() - before < 15
    assert report.stat().st_size < 15e6
