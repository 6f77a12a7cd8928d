from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import lab2rgb

from lightning_colorize.callbacks.grids import PictureGrids, grid_rows
from lightning_colorize.color import ColorBatch


def pictures(seed=0, count=2):
    generator = torch.Generator().manual_seed(seed)
    L = 30 + 40 * torch.rand(count, 1, 6, 5, generator=generator)
    ab_hat, ab = (40 * torch.rand(count, 2, 6, 5, generator=generator) - 20 for _ in range(2))
    return L, ab_hat, ab


def test_a_row_is_grey_prediction_truth():
    L, ab_hat, ab = pictures()
    rows = grid_rows(L, ab_hat, ab)
    assert rows.shape == (2, 3, 6, 15)
    assert rows.dtype == torch.uint8
    for place, colour in enumerate((torch.zeros_like(ab), ab_hat, ab)):
        lab = torch.cat([L, colour], dim=1).permute(0, 2, 3, 1).numpy()
        expected = lab2rgb(lab) * 255
        ours = rows[..., 5 * place : 5 * place + 5].permute(0, 2, 3, 1).numpy()
        assert np.abs(ours - expected).max() < 1.0


def test_predictions_outside_srgb_keep_their_lightness():
    L = torch.full((1, 1, 2, 2), 50.0)
    far = torch.full((1, 2, 2, 2), 100.0)
    shown = grid_rows(L, far, torch.zeros_like(far))[0, :, 0, 2] / 255
    from lightning_colorize.color import to_lab

    lightness, colour = to_lab(shown.view(1, 3, 1, 1))
    assert lightness.item() == pytest.approx(50, abs=0.5)
    assert colour.min() > 20


def saturation(picture):
    """Largest less smallest channel, mean over pixels, of 0..255."""
    pixels = np.asarray(picture).astype(int)
    return (pixels.max(axis=2) - pixels.min(axis=2)).mean()


def test_grids_on_disk_are_neither_grey_nor_black(finished_run):
    paths = sorted((finished_run / "images").glob("val_grid_*.png"))
    assert [path.name for path in paths] == ["val_grid_00000003.png", "val_grid_00000006.png"]
    for path in paths:
        grid = np.asarray(Image.open(path).convert("RGB"))
        # Two rows of three pictures of 32, and 2 pixels of white around each row.
        assert grid.shape == (2 * (32 + 2) + 2, 3 * 32 + 4, 3)
        for top in (2, 36):
            grey, prediction, truth = (
                grid[top : top + 32, 2 + 32 * i : 34 + 32 * i] for i in range(3)
            )
            assert saturation(grey) < 1.5
            assert saturation(prediction) > 3
            assert saturation(truth) > 15
            assert grey.std() > 3
            for picture in (grey, prediction, truth):
                assert 20 < picture.mean() < 240


def test_grids_show_always_the_same_pictures(finished_run):
    first, second = (
        np.asarray(Image.open(path)).astype(int)
        for path in sorted((finished_run / "images").glob("val_grid_*.png"))
    )
    for part in (slice(0, 34), slice(66, 100)):  # grey and truth
        assert (first[:, part] == second[:, part]).all()
    assert (first[:, 34:66] != second[:, 34:66]).any()


@pytest.mark.parametrize(
    ("every", "shown"), [(1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6, 7]), (10, [7])]
)
def test_they_are_shown_every_so_many_epochs_and_at_the_end(monkeypatch, every, shown):
    logged = []
    monkeypatch.setattr(
        "lightning_colorize.callbacks.grids.log_pictures",
        lambda loggers, name, picture, step: logged.append((step, picture.shape)),
    )
    grids = PictureGrids(count=3, every_n_epochs=every)
    batch = ColorBatch(L=pictures()[0], ab=pictures()[2], names=["a", "b"])
    for epoch in range(7):
        trainer = SimpleNamespace(
            current_epoch=epoch,
            max_epochs=7,
            should_stop=False,
            is_global_zero=True,
            sanity_checking=False,
            world_size=1,
            val_dataloaders=SimpleNamespace(dataset=range(6)),
            loggers=[],
            global_step=epoch + 1,
        )
        for number in range(3):
            grids.on_validation_batch_end(trainer, None, pictures()[1], batch, number)
        grids.on_validation_epoch_end(trainer, None)
    assert [step for step, _ in logged] == shown
    assert {shape for _, shape in logged} == {(3, 3 * (6 + 2) + 2, 15 + 4)}


def test_they_come_from_all_over_the_split(monkeypatch):
    logged = []
    monkeypatch.setattr(
        "lightning_colorize.callbacks.grids.log_pictures",
        lambda loggers, name, picture, step: logged.append(picture),
    )
    trainer = SimpleNamespace(
        current_epoch=0,
        max_epochs=1,
        should_stop=False,
        is_global_zero=True,
        sanity_checking=False,
        world_size=1,
        val_dataloaders=SimpleNamespace(dataset=range(10)),
        loggers=[],
        global_step=1,
    )
    L, ab_hat, ab = pictures(count=10)
    grids = PictureGrids(count=3)
    for start, stop in ((0, 4), (4, 8), (8, 10)):
        part = slice(start, stop)
        batch = ColorBatch(L[part], ab[part], ["name"] * (stop - start))
        grids.on_validation_batch_end(trainer, None, ab_hat[part], batch, 0)
    grids.on_validation_epoch_end(trainer, None)
    expected = grid_rows(L[[0, 3, 6]], ab_hat[[0, 3, 6]], ab[[0, 3, 6]])
    rows = [logged[0][:, 2 + 8 * i : 8 + 8 * i, 2:17] for i in range(3)]
    assert torch.equal(torch.stack(rows), expected)


def test_no_pictures_are_no_grids(command):
    run = command.fit("none", "--run.grid_pictures", 0, "--trainer.max_epochs", 1)
    assert not list(run.glob("images/*"))
