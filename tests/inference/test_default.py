"""The model of the package, on the public-domain photographs of the documentation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

from lightning_colorize.cli import main
from lightning_colorize.common.bundled import with_bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference import Colorizer, load_model
from lightning_colorize.models.exported import read_exported, write_exported

PHOTOGRAPHS = Path(__file__).parents[2] / "docs/photographs"
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILE, SAMPLES = (with_bundled(Path(name)) for name in ("default", "default-samples"))


def _ab(path):
    return rgb2lab(np.asarray(Image.open(path).convert("RGB")))[..., 1:]


@pytest.fixture(scope="module")
def colored(tmp_path_factory):
    """The photographs in grey, colored by the command without a checkpoint."""
    grey, out = tmp_path_factory.mktemp("grey"), tmp_path_factory.mktemp("colored")
    for file in PHOTOGRAPHS.glob("*.jpg"):
        Image.open(file).convert("L").save(grey / f"{file.stem}.png")
    assert main(["colorize", str(grey), str(out), "--device", "cpu"]) == 0
    return out


def test_photographs_become_colorful(colored):
    files = sorted(colored.glob("*.png"))
    assert len(files) == 12
    chroma = [np.linalg.norm(_ab(file), axis=-1).mean() for file in files]
    truth = [
        np.linalg.norm(_ab(PHOTOGRAPHS / f"{file.stem}.jpg"), axis=-1).mean() for file in files
    ]
    assert np.mean(chroma) > 0.5 * np.mean(truth)
    assert min(chroma) > 3


@pytest.mark.parametrize(
    ("name", "region", "channel", "sign"),
    [
        ("balloons", np.s_[:140, 120:380], 1, -1),  # sky: blue
        ("skyline", np.s_[:60], 1, -1),
        ("moose", np.s_[:90], 0, -1),  # foliage: green
        ("people", np.s_[90:120, 368:392], 1, 1),  # skin: yellow and red
        ("astronaut", np.s_[60:105, 115:155], 1, 1),
        ("astronaut", np.s_[60:105, 115:155], 0, 1),
    ],
)
def test_skies_are_blue_foliage_is_green_and_skin_is_like_skin(
    colored, name, region, channel, sign
):
    truth = _ab(PHOTOGRAPHS / f"{name}.jpg")[region][..., channel].mean() * sign
    assert truth > 4, "the region is not what its name says"
    assert _ab(colored / f"{name}.png")[region][..., channel].mean() * sign > 3


def test_samples_are_colorful_and_differ_and_follow_hints(tmp_path, capsys):
    words = ["colorize", str(PHOTOGRAPHS / "citrus.jpg"), str(tmp_path), "--samples", "3"]
    assert main(words) == 0
    assert "bundled model" in capsys.readouterr().err
    samples = [_ab(tmp_path / f"citrus_{number}.jpg") for number in (1, 2, 3)]
    assert all(np.linalg.norm(ab, axis=-1).mean() > 5 for ab in samples)
    apart = np.linalg.norm(samples[0] - samples[1], axis=-1)
    assert 3 < apart.mean() < 40
    # Where a person says the color, there is one.
    hints = Image.new("RGBA", (480, 320))
    hints.paste((220, 60, 40, 255), (100, 120, 160, 180))
    colorizer = Colorizer.from_pretrained("default-samples")
    painted = colorizer.colorize(PHOTOGRAPHS / "citrus.jpg", samples=2, hints=hints)
    free = colorizer.colorize(PHOTOGRAPHS / "citrus.jpg", samples=2)
    apart = [
        np.linalg.norm(np.subtract(*map(rgb2lab, map(np.asarray, each)))[..., 1:], axis=-1)
        for each in (painted, free)
    ]
    height, width = apart[0].shape
    place = np.s_[height * 3 // 8 : height // 2, width * 5 // 24 : width // 3]
    assert apart[0][place].mean() < 0.7 * apart[1][place].mean()


def test_a_file_that_shares_weights_is_read_back(tmp_path):
    model = load_model(SAMPLES).model
    with torch.no_grad():
        model.network.head.conv.bias[0] += 1
    write_exported(tmp_path / "whole.safetensors", model)
    write_exported(tmp_path / "part.safetensors", model, "default")
    whole, part = (read_exported(tmp_path / f"{n}.safetensors") for n in ("whole", "part"))
    assert whole["state_dict"].keys() == part["state_dict"].keys()
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, part["state_dict"][name])
    assert (tmp_path / "part.safetensors").stat().st_size < 3e6
    model.baselines = None  # the base has some
    with pytest.raises(ValueError, match="default has tensors that the model does not have"):
        write_exported(tmp_path / "none.safetensors", model, "default")
    content = (tmp_path / "part.safetensors").read_bytes()
    (tmp_path / "part.safetensors").write_bytes(content[:-4] + b"\0\0\0\1")
    with pytest.raises(UsageError, match="is damaged"):
        load_model(tmp_path / "part.safetensors")


def test_fine_tuning_needs_no_initial_weights(tmp_path, capsys):
    """They would be downloaded; the checkpoint replaces them."""
    words = {
        "--config": EXPERIMENTS / "default_model.yaml",
        "--data.source": EXPERIMENTS / "source/folder.yaml",
        "--data.root": PHOTOGRAPHS,
        "--data.size": 32,
        "--data.batch_size": 4,
        "--model.checkpoint": "default",
        "--trainer.max_steps": 1,
        "--run.root": tmp_path,
        "--run.name": "tuned",
    }
    given = [str(word) for pair in words.items() for word in pair]
    assert main(["fit", *given, "--model.encoder.normalization", "imagenet"]) == 2
    assert "give --model.encoder.normalization half" in capsys.readouterr().err
    assert main(["fit", *given]) == 0
    assert "weights: checkpoint" in capsys.readouterr().out
    net = load_model(tmp_path / "default_model/tuned").model.network
    tuned, before = net.head.bins.prior, load_model(FILE).model.network.head.bins.prior
    assert torch.equal(tuned, before)
    assert net.encoder.norm_eval  # the norms of these weights are folded
