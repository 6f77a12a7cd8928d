from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab

from lightning_colorize.color import to_lab
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.image_set import ImageSet
from lightning_colorize.runs.images import read_best_images
from lightning_colorize.training.callbacks import BestCheckpoint
from lightning_colorize.training.callbacks.grids import ImageGrids, grid_row
from tests.conftest import metric_rows
from tests.training.callbacks.conftest import fake_trainer

TINT = torch.tensor([12.0, -20.0]).view(1, 2, 1, 1)


class Photos(ImageSet):
    """Images of several aspect ratios; the fourth cannot be read."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def name(self, index):
        return f"{index}.jpg"

    def read(self, index, min_side=None):
        if index == 3:
            raise ImageError(Path("3.jpg"), "broken")
        return torch.full((3, 6, 6 + index), 20 * index, dtype=torch.uint8)


def trainer_of(count, **more):
    """Return the used part of a Trainer with `count` validation images."""
    data = SimpleNamespace(originals=lambda split: Photos(count), size=6)
    return fake_trainer(datamodule=data, **more)


class Tint(torch.nn.Module):
    device = torch.device("cpu")

    def forward(self, L):
        return TINT.expand(-1, -1, *L.shape[2:])


@pytest.fixture
def logged(monkeypatch):
    """Return the steps and images that the callback logs."""
    calls = []
    monkeypatch.setattr(
        "lightning_colorize.training.callbacks.grids.log_images",
        lambda loggers, name, image, step: calls.append((step, image)),
    )
    return calls


def test_row_is_grey_prediction_truth():
    generator = torch.Generator().manual_seed(0)
    L = 30 + 40 * torch.rand(1, 1, 6, 5, generator=generator)
    ab_hat, ab = (40 * torch.rand(1, 2, 6, 5, generator=generator) - 20 for _ in range(2))
    row = grid_row(L, ab_hat, ab)
    assert row.shape == (3, 6, 15)
    assert row.dtype == torch.uint8
    for index, color in enumerate((torch.zeros_like(ab), ab_hat, ab)):
        lab = torch.cat([L, color], dim=1)[0].permute(1, 2, 0).numpy()
        ours = row[..., 5 * index : 5 * index + 5].permute(1, 2, 0).numpy()
        assert np.abs(ours - lab2rgb(lab) * 255).max() < 1.0


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


@pytest.mark.parametrize(
    ("every", "expected"), [(1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6, 7]), (10, [7])]
)
def test_grids_are_logged_every_n_epochs_and_at_the_end(logged, tmp_path, every, expected):
    grids = ImageGrids(BestCheckpoint(tmp_path, None, "max"), count=3, every_n_epochs=every)
    for epoch in range(7):
        trainer = trainer_of(6, current_epoch=epoch, max_epochs=7, global_step=epoch + 1)
        grids.on_validation_epoch_end(trainer, Tint())
    assert [step for step, _ in logged] == expected


def test_images_are_spread_over_the_split_without_corrupt_ones(logged, tmp_path):
    grids = ImageGrids(BestCheckpoint(tmp_path, None, "max"), count=3)
    grids.on_validation_epoch_end(trainer_of(10), Tint())
    ((_, grid),) = logged
    # The images 0 and 6, whole; the widest one determines the width.
    assert grid.shape == (3, 2 * (6 + 4), 3 * 12 + 4)
    for index, top in ((0, 2), (6, 12)):
        width = 6 + index
        L, ab = to_lab(Photos(10).read(index).unsqueeze(0))
        expected = grid_row(L, TINT.expand_as(ab), ab)
        assert torch.equal(grid[:, top : top + 6, 2 : 2 + 3 * width], expected)
        assert (grid[:, top : top + 6, 2 + 3 * width :] == 255).all()


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
