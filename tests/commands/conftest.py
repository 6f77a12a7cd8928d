"""An external program that colors images, and a checkpoint that predicts none."""

import sys

import pytest
import torch

PROGRAM = """
import sys
from pathlib import Path
from PIL import Image
given, colored = map(Path, sys.argv[1:3])
with open(Path(__file__).with_name("calls"), "a") as calls:
    calls.write("x")
for file in sorted(given.rglob("*.png"))[int(sys.argv[3]):]:
    target = colored / file.relative_to(given)
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(file) as image:
        rgb = image.convert("RGB")
    assert rgb.getextrema()[0] == rgb.getextrema()[1]
    if rgb.getextrema()[0][1] < 50:
        sys.exit("too dark")
    red = Image.blend(rgb, Image.new("RGB", rgb.size, "red"), 0.1)
    red.resize([2 * side for side in red.size]).save(target)
"""


@pytest.fixture
def external_program(tmp_path):
    """Describe a program that tints images, refuses dark ones and leaves out the first ones."""

    def describe(left_out=0):
        (tmp_path / "their.py").write_text(PROGRAM)
        words = f"{sys.executable} {tmp_path / 'their.py'} {{input}} {{output}} {left_out}"
        (tmp_path / "their.yaml").write_text(f"command: {words}\n")
        return tmp_path / "their.yaml"

    return describe


@pytest.fixture
def diverged(finished_run, tmp_path):
    """A checkpoint whose predictions are not finite."""
    checkpoint = torch.load(finished_run / "checkpoints/best.ckpt", weights_only=True)
    for name, value in checkpoint["state_dict"].items():
        if name.endswith("running_var"):
            value.fill_(-1.0)
    torch.save(checkpoint, tmp_path / "diverged.ckpt")
    return tmp_path / "diverged.ckpt"
