"""A study with trials in every state, and its report."""

import sys

import numpy as np
import pytest
from optuna.trial import FixedTrial, TrialState

from lightning_colorize.reports.sweep import write_report
from lightning_colorize.runs.images import BestImage, write_best_images
from lightning_colorize.sweeps.spec import parse_sweep
from lightning_colorize.sweeps.status import leaderboard, rows
from lightning_colorize.sweeps.study import create_study
from tests.sweeps.conftest import ends, engine, run_trials  # noqa: F401

SOURCE = {
    "name": "tiny <&>",
    "method": "random",
    "run_cap": 15,
    "metric": {"name": "val/psnr", "goal": "maximize"},
    "command": [sys.executable, "fit.py", "--config", "a b.yaml", "${args}"],
    "parameters": {
        "model.encoder": {
            "values": [f"experiments/encoder/{name}.yaml" for name in ("r18", "unet")]
        },
        "model.betas": {"values": [[0.5, 0.9], [0.9, 0.999]]},
        "model.noise": {"distribution": "normal", "mu": 50, "sigma": 1},
        "model.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2},
        "model.evil": {"values": ["</script><script>alert(1)</script>", "good"]},
        "data.size": {"value": 64},
    },
}


def score(values):
    return 20.0 + 2 * ("unet" in values["model.encoder"]) + values["model.noise"] / 50


def drawn(study, number):
    """Return the values that a queued trial will have, as Optuna stores them."""
    return study.trials()[number].system_attrs["fixed_params"]


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A study: trial 3 failed, 4 was pruned, the last one runs, the others finished."""
    study = create_study(parse_sweep(SOURCE, "tiny.yaml"), tmp_path_factory.mktemp("runs"))
    for number in range(15):
        value = score(study.values_of(FixedTrial(drawn(study, number))))
        history = [value - 2, value - 1, value]
        outcome = {3: "exit code 1: boom", 4: TrialState.PRUNED, 14: None}.get(number, value)
        run_trials(study, outcome, history=history)
        if isinstance(outcome, float):
            folder = study.folder_of(number)
            folder.mkdir()
            ends("finished")(folder)
            (folder / "config.yaml").touch()
    return study


@pytest.fixture(scope="session")
def report(study):
    """The page of `study`, with images of its best trials; the best one has two, others one."""
    best = [entry.trials[0] for entry in leaderboard(rows(study), "max")]
    for index, row in enumerate(best[:5]):
        names = ["beach.jpg", "street.jpg"] if index == 0 else ["beach.jpg"]
        pixels = np.full((8, 36, 3), 40 * index, dtype=np.uint8)
        images = [BestImage(name, pixels, 11.2 + index) for name in names]
        write_best_images(row.folder, images)
    return write_report(study, images=2)
