import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.callbacks import PredictFolder
from lightning_colorize.training.loggers.build import close_loggers, log_images
from lightning_colorize.training.loggers.files import RunFiles
from lightning_colorize.training.loggers.tensorboard import TensorBoardRun


@pytest.fixture
def folder(tmp_path):
    """Three grey photographs, one of them broken."""
    path = tmp_path / "old"
    path.mkdir()
    ramp = np.linspace(40, 200, 60 * 80).reshape(60, 80).astype(np.uint8)
    Image.fromarray(ramp).save(path / "a.png")
    Image.fromarray(ramp.T.copy()).save(path / "b.jpg")
    (path / "c.jpg").write_bytes(b"no image")
    return path


def test_images_are_colored_after_each_validation(command, folder, capsys):
    run = command.fit("old", "--run.predict_dir", folder)
    names = sorted(path.name for path in (run / "images").glob("predict_0*"))
    assert names == [f"predict_{n}_{step:08d}.png" for n in ("00_a", "01_b") for step in (3, 6)]
    # The best weights color them again.
    best = sorted(path.name for path in (run / "images").glob("predict_best_*"))
    assert best == [f"predict_best_{n}_00000006.png" for n in ("00_a", "01_b")]
    colored = np.asarray(Image.open(run / "images" / names[1])).astype(int)
    assert colored.shape == (60, 80, 3)
    assert (colored.max(axis=2) - colored.min(axis=2)).mean() > 3
    grey = np.asarray(Image.open(folder / "a.png").convert("RGB"))
    lightness = [rgb2lab(image.astype(np.uint8))[..., 0] for image in (colored, grey)]
    assert np.abs(lightness[0] - lightness[1]).max() < 1
    assert "Not colored during training" in capsys.readouterr().out


def test_folder_without_images_is_refused(folder):
    for name in ("a.png", "b.jpg"):
        (folder / name).unlink()
    with pytest.raises(UsageError, match="no readable image"):
        PredictFolder(folder, 32)


def test_unusual_names_are_logged(folder, tmp_path):
    names = ["a.jpg", "x y.png", "x_y.png", "a/b.png", "a_b.png", "best_a.png", "b" * 240 + ".png"]
    for name in [*names, "\udce9\n.png"]:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name, format="PNG")
    images = PredictFolder(folder, 32).images
    assert len(images) == len(names) + 3  # `a.png` and `b.jpg` of the fixture, and the last one
    loggers = [RunFiles(tmp_path), TensorBoardRun(tmp_path)]
    for kind in ("predict", "predict_best"):
        for name in images:
            log_images(loggers, f"{kind}/{name}", torch.zeros(3, 2, 2, dtype=torch.uint8), 0)
    close_loggers(loggers)
    assert len(list((tmp_path / "images").iterdir())) == 2 * len(images)
