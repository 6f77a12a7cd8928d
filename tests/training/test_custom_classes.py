"""Classes outside the package: the example of the documentation works in every command."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from lightning_colorize.runs.folder import read_config
from lightning_colorize.runs.result import RunResult
from tests.conftest import TINY_NETWORK

ROOT = Path(__file__).parents[2]
CALLBACK = """
from pytorch_lightning import Callback


class MyCallback(Callback):
    def on_fit_start(self, trainer, pl_module):
        with (Path(trainer.default_root_dir) / "calls").open("a") as file:
            file.write("fit\\n")
"""


@pytest.fixture
def photos(tmp_path, photo_folder):
    """Photographs with the lists that the example's source reads."""
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    for split in ("train", "val", "test"):
        names = [f"{split}/{path.name}" for path in sorted((folder / split).iterdir())]
        (folder / f"{split}.txt").write_text("\n".join(names))
    return folder


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """Write the example's module, with a callback, and its configuration."""
    page = (ROOT / "docs/how-to/extend.md").read_text()
    for language, name, more in (("python", "mymodule.py", CALLBACK), ("yaml", "mine.yaml", "")):
        block = re.search(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        (tmp_path / name).write_text(block[1] + more)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("mymodule", None)
    yield ("--config", ROOT / "experiments/cnn_unet.yaml", "--config", tmp_path / "mine.yaml")
    sys.modules.pop("mymodule", None)


@pytest.mark.filterwarnings("error:checkpoints of this task do not record")
def test_custom_classes_work_in_every_command(command, configs, photos, tmp_path, capsys):
    words = command.words(
        *("custom", "--data.root", photos, "--run.monitor", "val/hue_error"),
        *("--trainer.max_epochs", 1, "--trainer.callbacks+=mymodule.MyCallback"),
        without=TINY_NETWORK,
    )
    assert command("fit", *configs, *words) == 0
    assert " hue_error\n" in capsys.readouterr().out
    run = command.root / "tiny" / "custom"
    result = RunResult.read(run)
    assert result.best_metric == result.metrics["val/hue_error"]
    assert result.baselines["grey"]["test/hue_error"] == pytest.approx(90)
    assert command("resume", run, "--trainer.max_epochs", 2) == 0
    assert (run / "calls").read_text() == "fit\nfit\n"
    config = read_config(run)
    parts = config["model"]["init_args"] | {"source": config["data"]["source"]}
    names = {"encoder": "TinyEncoder", "decoder": "TinyDecoder", "loss": "Cosine"}
    for part, name in (names | {"source": "ListedSource"}).items():
        assert parts[part]["class_path"] == f"mymodule.{name}"

    words = ("--data", photos, "--json", tmp_path / "metrics.json")
    assert command("evaluate", run, *words, "--group-by", "folder") == 0
    rows = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    tested = RunResult.read(run).metrics["test/hue_error"]
    assert rows["model"]["hue_error"] == pytest.approx(tested, rel=1e-4)
    assert command("colorize", photos / "test", tmp_path / "out", "--checkpoint", run) == 0
