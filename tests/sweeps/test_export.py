import csv
import json

import pytest
import yaml

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.export import NoWinner, export_trials, export_winner
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.trial import Outcome

OUTCOMES = (
    Outcome("finished", 20.5),
    Outcome("failed", reason='exit code 1: "boom", again'),
    Outcome("pruned", 30.0, "hyperband: behind"),
    Outcome("finished", 21.25),
)


@pytest.fixture
def study(engine):
    parameters = {"a.x": [[1, None], "text"], "b": [True, None], "c": 0.1}
    study = engine.study(parameters)
    trials = TrialQueue(study)
    for outcome in OUTCOMES:
        trial = trials.take()
        trials.report(trial, 0, 19.5)
        trials.report_epoch(trial, 4)
        trials.tell(trial, outcome)
    return study


def test_csv(study):
    path, _ = export_trials(study)
    assert path == study.folder / "trials.csv"
    with path.open(newline="") as file:
        first, second, third, fourth = csv.DictReader(file)
    assert (first["number"], first["state"], first["value"]) == ("0", "finished", "20.5")
    assert (first["a.x"], first["b"], first["c"]) == ("[1, null]", "true", "0.1")
    assert (fourth["a.x"], fourth["b"]) == ("text", "null")
    assert (second["state"], second["value"]) == ("failed", "")
    assert second["reason"] == 'exit code 1: "boom", again'
    assert (third["reason"], third["epoch"]) == ("hyperband: behind", "4")
    assert float(first["seconds"]) >= 0
    assert first["folder"] == str(study.folder_of(0))


def test_json(study):
    _, path = export_trials(study)
    content = json.loads(path.read_text())
    assert content["name"] == "tiny"
    assert content["metric"] == {"name": "val/psnr", "goal": "maximize"}
    assert [trial["value"] for trial in content["trials"]] == [20.5, None, 30.0, 21.25]
    assert content["trials"][3]["values"] == {"a.x": "text", "b": None, "c": 0.1}
    assert content["trials"][0]["history"] == [19.5]
    assert content["trials"][0]["folder"] == str(study.folder_of(0))


def test_yaml_is_the_winners_configuration(study):
    for number in range(4):
        study.folder_of(number).mkdir()
        (study.folder_of(number) / "config.yaml").write_text(f"number: {number}\n")
    path = export_winner(study)
    assert path == study.folder / "winner.yaml"
    assert yaml.safe_load(path.read_text()) == {"number": 3}
    assert path.read_text().startswith("# Trial 3 of the sweep tiny: val/psnr 21.25\n")


def test_no_winner(study, engine):
    empty = engine.study({"x": 1}, name="empty")
    blind = engine.study({"x": 1}, name="blind", metric=None)
    reasons = {
        "tiny": "trial 3 is the best, but .* no config.yaml",
        "empty": "no trial has finished",
    }
    for each in (study, empty, blind):
        with pytest.raises(NoWinner, match=reasons.get(each.sweep.name, "has no metric")):
            export_winner(each)
        assert not (each.folder / "winner.yaml").exists()


def test_a_folder_instead_of_a_file_is_one_line(study):
    (study.folder / "trials.csv").mkdir()
    with pytest.raises(UsageError, match=r"trials\.csv is a folder"):
        export_trials(study)
