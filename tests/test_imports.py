"""Imports of the commands; import-linter checks those between packages."""

import subprocess
import sys

import pytest
from PIL import Image

from lightning_colorize.data.decoding.files import read_image
from lightning_colorize.training.loggers.build import build_loggers
from lightning_colorize.training.options import LoggerOptions

HEAVY = (
    *("torch", "pytorch_lightning", "torchvision", "torchmetrics", "kornia", "timm", "wandb"),
    *("tensorboard", "skimage", "tifffile", "PIL", "numpy", "pandas", "rich", "jsonargparse"),
)


def run_python(code):
    return subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, timeout=290, check=False
    )


def test_helps_records_and_metrics_import_nothing_heavy():
    code = f"""
import sys
from lightning_colorize.cli import COMMANDS, main
for words in [["--help"], ["--version"], ["nonsense"],
              *([name, "--help"] for name in COMMANDS)]:
    code = main(words)
    assert code == (2 if words == ["nonsense"] else 0), (words, code)
import lightning_colorize.runs.record, lightning_colorize.metrics.spec
heavy = [name for name in {HEAVY} if name in sys.modules]
assert not heavy, heavy
print("done")
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")


def test_typos_in_a_sweep_are_found_before_long_imports(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "{method: grid, parameters: {model.loss: {values: [l1.yml]}}, "
        "command: [lightning-colorize, fit, --config, experiments/quickstart.yaml, '${args}']}"
    )
    code = f"""
import sys
from lightning_colorize.cli import main
for name in ("a.yaml", "b.yaml"):
    assert main(["sweep", "run", "{tmp_path}/" + name, "--engine", "local"]) == 2
print("torch" in sys.modules)
"""
    done = run_python(code)
    assert done.stdout == "False\n", done
    assert "model.loss=l1.yml: l1.yml is not a file" in done.stderr


@pytest.mark.slow
def test_the_full_help_of_fit_loggers_and_inference_import_little_beside_lightning():
    code = """
import sys
from pytorch_lightning.cli import LightningCLI
lightnings = set(sys.modules)
from lightning_colorize.cli import main
assert main(["fit", "--help", "all"]) == 0
ours = {name.partition(".")[0] for name in set(sys.modules) - lightnings}
needless = ours & {"timm", "wandb", "huggingface_hub", "pandas", "matplotlib"}
assert not needless, needless
import lightning_colorize.training.loggers.build, lightning_colorize.inference
assert not {"wandb", "diffusers"} & set(sys.modules)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_temporary_folders_of_wandb_are_the_runs_until_it_starts_again(tmp_path):
    code = f"""
import os
from pathlib import Path
from lightning_colorize.training.loggers.build import build_loggers
from lightning_colorize.training.options import LoggerOptions
build_loggers(Path("{tmp_path}"), LoggerOptions("offline"))
os._exit(9)
"""
    assert run_python(code).returncode == 9
    left = [*tmp_path.glob("wandb/tmp*wandb-*")]
    assert left
    build_loggers(tmp_path, LoggerOptions("offline"))
    assert not any(folder.exists() for folder in left)


def test_a_photograph_is_colored_without_lightning(tmp_path):
    Image.new("RGB", (40, 30), "grey").save(tmp_path / "a.png")
    words = ["colorize", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--size", "32"]
    code = f"""
import sys
from lightning_colorize.cli import main
assert main({words}) == 0
heavy = {{"pytorch_lightning", "torchmetrics", "kornia", "scipy"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = run_python(code)
    assert done.stdout.endswith("[]\n"), done


def test_reading_restores_pillows_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.new("RGB", (20, 20)).save(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png").shape == (3, 20, 20)
    assert Image.MAX_IMAGE_PIXELS == 10
