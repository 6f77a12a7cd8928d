import subprocess
import sys

import pytest

from lightning_colorize.metrics import spec


def test_imports_neither_torch_nor_numpy():
    code = "import lightning_colorize.metrics.spec, sys; print(sorted(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    for heavy in ("torch", "pytorch_lightning", "numpy"):
        assert f"'{heavy}'" not in modules


@pytest.mark.parametrize(
    ("name", "goal"),
    [
        ("val/psnr", "max"),
        ("ciede2000", "min"),
        ("val/loss", "min"),
        ("val/colorfulness", None),
        ("train/unknown", None),
    ],
)
def test_metric_goal(name, goal):
    assert spec.metric_goal(name) == goal


def test_help_states_the_better_direction():
    assert spec.metric_help("psnr").endswith("; higher is better")
    assert spec.metric_help("ciede2000").endswith("; lower is better")
    assert "higher is better" not in spec.metric_help("colorfulness_ratio")
