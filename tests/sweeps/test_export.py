import csv
import json

import pytest
import yaml

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.export import export
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


def test_csv(study, tmp_path):
    export(study, [tmp_path / "new" / "trials.csv"])
    with (tmp_path / "new/trials.csv").open(newline="") as file:
        first, second, third, fourth = csv.DictReader(file)
    assert (first["number"], first["state"], first["value"]) == ("0", "finished", "20.5")
    assert (first["a.x"], first["b"], first["c"]) == ("[1, null]", "true", "0.1")
    assert (fourth["a.x"], fourth["b"]) == ("text", "null")
    assert (second["state"], second["value"]) == ("failed", "")
    assert second["reason"] == 'exit code 1: "boom", again'
    assert (third["reason"], third["epoch"]) == ("hyperband: behind", "4")
    assert float(first["seconds"]) >= 0
    assert first["folder"] == str(study.folder_of(0))


def test_json(study, tmp_path):
    export(study, [tmp_path / "trials.json"])
    content = json.loads((tmp_path / "trials.json").read_text())
    assert content["name"] == "tiny"
    assert content["metric"] == {"name": "val/psnr", "goal": "maximize"}
    assert [trial["value"] for trial in content["trials"]] == [20.5, None, 30.0, 21.25]
    assert content["trials"][3]["values"] == {"a.x": "text", "b": None, "c": 0.1}
    assert content["trials"][0]["history"] == [19.5]
    assert content["trials"][0]["folder"] == str(study.folder_of(0))


def test_yaml_is_the_winners_configuration(study, tmp_path):
    for number in range(4):
        study.folder_of(number).mkdir()
        (study.folder_of(number) / "config.yaml").write_text(f"number: {number}\n")
    export(study, [tmp_path / "best.yaml"])
    text = (tmp_path / "best.yaml").read_text()
    assert yaml.safe_load(text) == {"number": 3}
    assert text.startswith("# Trial 3 of the sweep tiny: val/psnr 21.25\n")


def test_a_file_is_not_overwritten_by_default(study, tmp_path):
    file = tmp_path / "trials.csv"
    file.write_text("precious")
    with pytest.raises(UsageError, match=r"trials\.csv exists.*--overwrite"):
        export(study, [tmp_path / "trials.json", file])
    assert file.read_text() == "precious"
    # Nor is the other half of what was asked for left behind.
    assert not (tmp_path / "trials.json").exists()
    export(study, [file], overwrite=True)
    assert file.read_text().startswith("number,")


def test_other_suffixes_and_folders_are_refused(study, tmp_path):
    for name in ("trials.xlsx", "trials"):
        with pytest.raises(UsageError, match=rf"{name} must end in \.csv or \.json"):
            export(study, [tmp_path / name])
        assert not (tmp_path / name).exists()
    (tmp_path / "trials.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        export(study, [tmp_path / "trials.csv"])


def test_no_winner(study, engine, tmp_path):
    with pytest.raises(UsageError, match=r"trial-0003/config\.yaml cannot be read"):
        export(study, [tmp_path / "best.yaml"])
    for study, said in (
        (engine.study({"x": 1}, name="empty"), "no trial of the sweep 'empty' has finished"),
        (engine.study({"x": 1}, name="blind", metric=None), "'blind' has no metric"),
    ):
        with pytest.raises(UsageError, match=said):
            export(study, [tmp_path / "best.yaml"])
    assert not (tmp_path / "best.yaml").exists()
