"""Classes outside the package, named in the configuration."""

import json
import shutil
import sys

import pytest

from lightning_colorize.runs.folder import read_config
from lightning_colorize.runs.result import RunResult

MODULE = """
from pathlib import Path

import torch
from pytorch_lightning import Callback
from torchmetrics import Metric

from lightning_colorize.data.sources import FolderSource
from lightning_colorize.losses import L1
from lightning_colorize.networks import ConvEncoder, UpsampleDecoder


class MyEncoder(ConvEncoder):
    # Without arguments.
    def __init__(self) -> None:
        super().__init__([4, 8])


class MyDecoder(UpsampleDecoder):
    pass


class MyLoss(L1):
    pass


class MySource(FolderSource):
    pass


class MyMetric(Metric):
    # The error of ab, as `mae_ab` measures it, times a factor.
    higher_is_better = False

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.add_state("errors", [], dist_reduce_fx="cat")

    def update(self, L: torch.Tensor, ab_hat: torch.Tensor, ab: torch.Tensor) -> None:
        self.errors.append((ab_hat - ab).abs().mean(dim=(1, 2, 3)))

    def compute(self) -> torch.Tensor:
        return self.factor * torch.cat(self.errors).mean()


class Faulty(Callback):
    state_key = property(lambda self: "my" + 1)

    def state_dict(self):
        return {}


class MyCallback(Callback):
    def on_fit_start(self, trainer, pl_module):
        with (Path(trainer.default_root_dir) / "calls").open("a") as file:
            file.write("fit\\n")
"""

OWN_METRIC = {"error": {"class_path": "my_colorization.MyMetric", "init_args": {"factor": 2.0}}}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that can be imported while the test runs."""
    (tmp_path / "my_colorization.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_colorization"
    sys.modules.pop("my_colorization", None)


def test_custom_classes_work_in_every_command(command, module, tmp_path):
    words = command.words(
        *("custom", "--trainer.max_epochs", 1, "--run.test", "false"),
        *("--model.decoder", f"{module}.MyDecoder", "--model.loss", f"{module}.MyLoss"),
        *("--data.source", f"{module}.MySource"),
        *("--trainer.callbacks", f"{module}.MyCallback"),
        *("--model.encoder", f"{module}.MyEncoder"),
        without=["--model.encoder", "--model.encoder.widths"],
    )
    assert command("fit", *words) == 0
    run = command.root / "tiny" / "custom"
    assert command("resume", run, "--trainer.max_epochs", 2) == 0
    assert (run / "calls").read_text() == "fit\nfit\n"
    config = read_config(run)
    parts = config["model"]["init_args"] | {"source": config["data"]["source"]}
    for name in ("encoder", "decoder", "loss", "source"):
        assert parts[name]["class_path"] == f"{module}.My{name.capitalize()}"

    words = ("--data", command.photos, "--json", tmp_path / "metrics.json")
    assert command("evaluate", run, *words) == 0
    assert command("colorize", command.photos / "test", tmp_path / "out", "--checkpoint", run) == 0
    # A checkpoint outside its run folder needs an explicit permission.
    copy = tmp_path / "copy.ckpt"
    shutil.copyfile(run / "checkpoints/best.ckpt", copy)
    assert command("evaluate", copy, *words) == 2
    assert command("evaluate", copy, *words, "--allow-class", module) == 0


def test_a_bug_in_a_callback_keeps_its_traceback(command, module):
    with pytest.raises(TypeError, match="concatenate"):
        command("fit", *command.words("bug", "--trainer.callbacks", f"{module}.Faulty"))


@pytest.mark.filterwarnings("error:checkpoints of this task do not record")
def test_a_custom_metric_is_measured_by_every_command(command, module, tmp_path, capsys):
    words = ("--model.metrics", json.dumps(OWN_METRIC), "--run.monitor", "val/error")
    run = command.fit("measured", *words, "--trainer.max_epochs", 1)
    assert " error\n" in capsys.readouterr().out
    result = RunResult.read(run)
    for metrics in (result.metrics, *result.baselines.values()):
        for split in ("val", "test"):
            twice = 2 * metrics[f"{split}/mae_ab"]
            assert metrics[f"{split}/error"] == pytest.approx(twice, rel=1e-4)
    assert result.best_metric == result.metrics["val/error"]
    assert command("resume", run, "--trainer.max_epochs", 2) == 0

    data = ("--data", command.photos, "--json", tmp_path / "numbers.json")
    assert command("evaluate", run, *data, "--group-by", "folder") == 0
    rows = json.loads((tmp_path / "numbers.json").read_text())["metrics"]
    assert rows["model"]["error"] == pytest.approx(2 * rows["model"]["mae_ab"], rel=1e-4)
