from types import SimpleNamespace

import yaml

from lightning_colorize.reports.comparison.report import group_seeds


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


def test_runs_that_differ_only_in_the_seed_are_one_group(tmp_path):
    first = _system(tmp_path / "a", 0)
    systems = [
        first,
        _system(tmp_path / "b", 0, data__size=96),
        _system(tmp_path / "c", 1, run__root="elsewhere", run__loggers={"wandb_id": "x"}),
        SimpleNamespace(name="elsewhere", run=None),
        _system(tmp_path / "d", 0, data__seed=7),
        first,  # the same run and the same seed have no spread
        _system(tmp_path / "again", 1),
    ]
    (group,) = group_seeds(systems)
    assert group.members == [0, 2, 4]
    assert group.seeds == ["0", "1", "0, 7"]
    assert group_seeds([first, first]) == []
    (tmp_path / "a" / "config.yaml").write_text("[")
    bare = SimpleNamespace(name="y", run=tmp_path)
    assert group_seeds([first, bare, bare]) == []
