"""Image grids, the images of the best epoch, and a folder colored during training."""

import numpy as np
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.images import read_best_images
from lightning_colorize.training.callbacks import PredictFolder
from tests.conftest import metric_rows


def saturation(image):
    """Mean over pixels of the largest minus the smallest channel, in 0..255."""
    pixels = np.asarray(image).astype(int)
    return (pixels.max(axis=2) - pixels.min(axis=2)).mean()


def test_grids_on_disk_show_whole_images_in_color(finished_run):
    paths = sorted((finished_run / "images").glob("val_grid_*.png"))
    assert [path.name for path in paths] == ["val_grid_00000003.png", "val_grid_00000006.png"]
    grids = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    for grid in grids:
        # Rows of a 40 x 36 and a 54 x 54 image at 32 pixels, with 2 pixels of white around each.
        assert grid.shape == (2 * (32 + 4), 3 * 36 + 4, 3)
        for top, width in ((2, 36), (38, 32)):
            grey, prediction, truth = np.split(grid[top : top + 32, 2 : 2 + 3 * width], 3, axis=1)
            assert saturation(grey) < 1.5
            assert saturation(prediction) > 3
            assert saturation(truth) > 15
            assert grey.std() > 3
            for image in (grey, prediction, truth):
                assert 20 < image.mean() < 240
        assert (grid[36:, 2 + 3 * 32 :] == 255).all()
    # The same images in each epoch, in other colors.
    assert (grids[0][:, :34] == grids[1][:, :34]).all()
    assert (grids[0][:36, 38:74] != grids[1][:36, 38:74]).any()


def test_the_best_images_are_on_disk_with_names_and_differences(finished_run):
    images = read_best_images(finished_run)
    assert len(images) == 2
    rows = [row for row in metric_rows(finished_run) if row["val/psnr"]]
    best = max(rows, key=lambda row: float(row["val/psnr"]))
    grid = np.asarray(Image.open(finished_run / f"images/val_grid_{int(best['step']) + 1:08d}.png"))
    for index, image in enumerate(images):
        top = 2 + 36 * index
        assert (image.row == grid[top : top + 32, 2 : 2 + image.row.shape[1]]).all()
        assert image.name.startswith(("02", "val/02"))
        prediction, truth = (rgb2lab(part) for part in np.split(image.row, 3, axis=1)[1:])
        # Rounded to 8 bits, and brought into the gamut, as the metric is not.
        expected = deltaE_ciede2000(prediction, truth).mean()
        assert image.ciede2000 == pytest.approx(expected, abs=0.3)


def test_grids_are_logged_every_n_epochs_and_at_the_end(command):
    run = command.fit("two", "--run.grid_every_n_epochs", 2, "--trainer.max_epochs", 3)
    grids = sorted(path.name for path in (run / "images").glob("val_grid_*.png"))
    assert grids == ["val_grid_00000006.png", "val_grid_00000009.png"]


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
