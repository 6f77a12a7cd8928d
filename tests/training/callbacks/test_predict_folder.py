import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.callbacks import PredictFolder


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
