import json
from types import SimpleNamespace

import pytest
import yaml

from lightning_colorize.reports.comparison.history import (
    Budget,
    Curves,
    group_seeds,
    read_budget,
    read_curves,
)


def _system(folder, seed, **changes):
    config = {
        "seed_everything": seed,
        "data": {"size": 64, "seed": None},
        "trainer": {"accumulate_grad_batches": 1},
        "run": {"name": folder.name, "root": str(folder.parent), "experiment": "unet",
                "loggers": {"tags": [folder.name]}},
    }  # fmt: skip
    for key, value in changes.items():
        group, name = key.split("__")
        config[group][name] = value
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return SimpleNamespace(name=folder.name, run=folder)


def test_runs_that_differ_in_nothing_but_the_seed_are_one_group(tmp_path):
    systems = [
        _system(tmp_path / "a", 0),
        _system(tmp_path / "b", 0, data__size=96),
        _system(tmp_path / "c", 1),
        SimpleNamespace(name="elsewhere", run=None),
        _system(tmp_path / "d", 2),
    ]
    (group,) = group_seeds(systems)
    assert group.members == [0, 2, 4]
    assert group.seeds == ["0", "1", "2"]


def test_a_seed_of_the_data_counts_as_one(tmp_path):
    systems = [_system(tmp_path / "a", 0), _system(tmp_path / "b", 0, data__seed=7)]
    (group,) = group_seeds(systems)
    assert group.seeds == ["0", "0, 7"]


def test_the_same_run_twice_has_no_spread(tmp_path):
    first = _system(tmp_path / "a", 3)
    assert group_seeds([first, first, _system(tmp_path / "again", 3)]) == []


def test_folders_without_a_configuration_are_no_group(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("[")
    system = SimpleNamespace(name="x", run=tmp_path / "broken")
    bare = SimpleNamespace(name="y", run=tmp_path)
    assert group_seeds([system, bare, bare]) == []


METRICS = """step,epoch,train/loss,val/psnr,val/ab_corr
9,0,0.5,,
15,0,,20.5,0.1
31,1,,21.5,
32,2,,,
"""


def test_curves_over_epochs_and_images(tmp_path):
    _system(tmp_path / "run", 0, trainer__accumulate_grad_batches=2)
    (tmp_path / "run/metrics.csv").write_text(METRICS)
    result = {"batches": 64, "images_seen": 1024}
    (tmp_path / "run/result.json").write_text(json.dumps(result))
    curves = read_curves(tmp_path / "run")
    assert curves.epochs == [1, 2]
    assert curves.metrics["val/psnr"] == [20.5, 21.5]
    assert curves.metrics["val/ab_corr"] == [0.1, None]
    # 32 optimiser steps of two batches of 16 are 1,024 images.
    assert curves.images == [512, 1024]


def test_a_run_without_a_result_has_no_images_seen(tmp_path):
    assert read_curves(tmp_path) == Curves()
    (tmp_path / "metrics.csv").write_text(METRICS)
    assert read_curves(tmp_path).images is None


def test_garbage_is_left_out(tmp_path):
    _system(tmp_path / "run", 0, trainer__accumulate_grad_batches="often")
    run = tmp_path / "run"
    broken = b"half,\n,1,,20\n47,2,,\xff\x00,0.5\n48,x,,3,\n49,3,,nan,0.2\n"
    (run / "metrics.csv").write_bytes(METRICS.encode() + broken)
    (run / "result.json").write_text(json.dumps({"batches": 64}))
    curves = read_curves(run)
    assert curves.epochs == [1, 2, 3, 4]
    assert curves.metrics["val/psnr"] == [20.5, 21.5, None, None]
    assert curves.metrics["val/ab_corr"] == [0.1, None, 0.5, 0.2]
    assert curves.images is None
    wrong = {"batches": "many", "images_seen": [], "seconds": "long", "epochs": None, "status": 3}
    (run / "result.json").write_text(json.dumps(wrong | {"parameters": 5}))
    assert read_curves(run).images is None
    assert read_budget(run) == Budget(parameters=5)


def test_budgets(tmp_path):
    assert read_budget(tmp_path) == Budget()
    result = {"images_seen": 5, "seconds": 1.5, "parameters": 7, "epochs": 2, "status": "finished"}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert read_budget(tmp_path) == Budget(5, 1.5, 7, 2, "finished")
    (tmp_path / "result.json").write_text("{")
    assert read_budget(tmp_path) == Budget()


@pytest.mark.parametrize("name", ["run.loggers.wandb_id", "run.root"])
def test_places_make_no_other_configuration(tmp_path, name):
    first, second = _system(tmp_path / "a", 0), _system(tmp_path / "b", 1)
    config = yaml.safe_load((second.run / "config.yaml").read_text())
    *outer, last = name.split(".")[1:]
    (config["run"][outer[0]] if outer else config["run"])[last] = "other"
    (second.run / "config.yaml").write_text(yaml.safe_dump(config))
    assert len(group_seeds([first, second])) == 1
