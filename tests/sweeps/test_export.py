"""Exports: a table of trials as CSV and JSON, and the winner's configuration."""

import csv
import json

import pytest
from optuna.trial import TrialState

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.export import NoWinner, export_trials, export_winner
from tests.sweeps.conftest import run_trials

REASON = 'exit code 1: "boom", again'
OUTCOMES = (20.5, REASON, TrialState.PRUNED, 21.25)
EXPECTED = [("finished", 20.5), ("failed", 19.5), ("pruned", 19.5), ("finished", 21.25)]


@pytest.fixture
def study(engine):
    study = engine.study({"a.x": [[1, None], "text"], "b": [True, None], "c": 0.1})
    run_trials(study, *OUTCOMES, history=[19.5])
    return study


def test_trials_as_csv_and_json(study):
    as_csv, as_json = export_trials(study)
    assert (as_csv, as_json) == (study.folder / "trials.csv", study.folder / "trials.json")
    content = json.loads(as_json.read_text())
    assert content["name"] == "tiny"
    assert content["metric"] == {"name": "val/psnr", "goal": "maximize"}
    assert content["trials"][3]["values"] == {"a.x": "text", "b": None, "c": 0.1}
    assert content["trials"][0]["history"] == [19.5]
    with as_csv.open(newline="") as file:
        lines = list(csv.DictReader(file))
    for number, (line, trial) in enumerate(zip(lines, content["trials"], strict=True)):
        assert (trial["state"], trial["value"]) == EXPECTED[number]
        assert trial["reason"] == (REASON if number == 1 else None)
        assert (trial["number"], trial["epoch"]) == (number, 1)
        assert trial["folder"] == str(study.folder_of(number))
        assert trial["seconds"] >= 0
        names = ("number", "state", "value", "epoch", "seconds", "reason", "folder")
        written = ["" if trial[name] is None else str(trial[name]) for name in names]
        assert [line[name] for name in names] == written
    assert [lines[0][name] for name in ("a.x", "b", "c")] == ["[1, null]", "true", "0.1"]
    assert [lines[3][name] for name in ("a.x", "b")] == ["text", "null"]


def test_yaml_is_the_winners_configuration(study):
    study.folder_of(3).mkdir()
    (study.folder_of(3) / "config.yaml").write_text("number: 3\n")
    path = export_winner(study)
    assert path == study.folder / "winner.yaml"
    assert path.read_text() == "# Trial 3 of the sweep tiny: val/psnr 21.25\nnumber: 3\n"


def test_no_winner(study, engine):
    for each, reason in (
        (study, "trial 3 is the best, but .* no config.yaml"),
        (engine.study({"x": 1}, name="empty"), "no trial has finished"),
        (engine.study({"x": 1}, name="blind", metric=None), "has no metric"),
    ):
        with pytest.raises(NoWinner, match=reason):
            export_winner(each)
        assert not (each.folder / "winner.yaml").exists()
    (study.folder / "trials.csv").mkdir()
    with pytest.raises(UsageError, match=r"trials\.csv is a folder"):
        export_trials(study)
