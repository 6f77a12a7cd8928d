"""Classes outside the package: named once, in the configuration."""

import shutil
import sys

import pytest

from lightning_colorize.runs.folder import read_config

MODULE = """
from pathlib import Path

from pytorch_lightning import Callback

from lightning_colorize.data.sources import FolderSource
from lightning_colorize.losses import L1
from lightning_colorize.networks import ConvEncoder, UpsampleDecoder


class MyEncoder(ConvEncoder):
    pass


class MyDecoder(UpsampleDecoder):
    pass


class MyLoss(L1):
    pass


class MySource(FolderSource):
    pass


class MyCallback(Callback):
    def on_fit_start(self, trainer, pl_module):
        with (Path(trainer.default_root_dir) / "calls").open("a") as file:
            file.write("fit\\n")
"""


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
    )
    words[words.index("--model.encoder") + 1] = f"{module}.MyEncoder"
    assert command("fit", *words) == 0
    run = command.root / "tiny" / "custom"
    assert command("resume", run, "--trainer.max_epochs", 2) == 0
    assert (run / "calls").read_text() == "fit\nfit\n"
    config = read_config(run)
    parts = config["model"]["init_args"]
    assert parts["encoder"]["class_path"] == f"{module}.MyEncoder"
    assert parts["decoder"]["class_path"] == f"{module}.MyDecoder"
    assert parts["loss"]["class_path"] == f"{module}.MyLoss"
    assert config["data"]["source"]["class_path"] == f"{module}.MySource"

    words = ("--data", command.photos, "--json", tmp_path / "metrics.json")
    assert command("evaluate", run, *words) == 0
    assert command("colorize", command.photos / "test", tmp_path / "out", "--checkpoint", run) == 0
    # A checkpoint outside its run folder needs an explicit permission.
    copy = tmp_path / "copy.ckpt"
    shutil.copyfile(run / "checkpoints/best.ckpt", copy)
    assert command("evaluate", copy, *words) == 2
    assert command("evaluate", copy, *words, "--allow-class", module) == 0


def test_a_module_that_cannot_be_imported_is_named(command, capsys):
    assert command("fit", *command.words("custom", "--model.loss", "not_there.MyLoss")) == 2
    err = capsys.readouterr().err
    assert "not_there.MyLoss" in err
    assert "No module named 'not_there'" in err
    assert "PYTHONPATH" in err
