from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab

from lightning_colorize.color import ColorBatch
from lightning_colorize.training.callbacks import BestCheckpoint
from lightning_colorize.training.callbacks.grids import ImageGrids, grid_rows
from lightning_colorize.training.loggers.image_files import read_best_images
from tests.conftest import metric_rows


def images(seed=0, count=2):
    generator = torch.Generator().manual_seed(seed)
    L = 30 + 40 * torch.rand(count, 1, 6, 5, generator=generator)
    ab_hat, ab = (40 * torch.rand(count, 2, 6, 5, generator=generator) - 20 for _ in range(2))
    return L, ab_hat, ab


def test_a_row_is_grey_prediction_truth():
    L, ab_hat, ab = images()
    rows = grid_rows(L, ab_hat, ab)
    assert rows.shape == (2, 3, 6, 15)
    assert rows.dtype == torch.uint8
    for place, colour in enumerate((torch.zeros_like(ab), ab_hat, ab)):
        lab = torch.cat([L, colour], dim=1).permute(0, 2, 3, 1).numpy()
        expected = lab2rgb(lab) * 255
        ours = rows[..., 5 * place : 5 * place + 5].permute(0, 2, 3, 1).numpy()
        assert np.abs(ours - expected).max() < 1.0


def fake_trainer(images, **more):
    """What the callback asks of a Trainer, with so many validation images."""
    defaults = {"current_epoch": 0, "should_stop": False, "is_global_zero": True, "loggers": []}
    defaults |= {"sanity_checking": False, "world_size": 1, "default_root_dir": ""}
    loader = SimpleNamespace(dataset=range(images))
    return SimpleNamespace(val_dataloaders=loader, **defaults | more)


def saturation(image):
    """Largest less smallest channel, mean over pixels, of 0..255."""
    pixels = np.asarray(image).astype(int)
    return (pixels.max(axis=2) - pixels.min(axis=2)).mean()


def test_grids_on_disk_are_neither_grey_nor_black(finished_run):
    paths = sorted((finished_run / "images").glob("val_grid_*.png"))
    assert [path.name for path in paths] == ["val_grid_00000003.png", "val_grid_00000006.png"]
    for path in paths:
        grid = np.asarray(Image.open(path).convert("RGB"))
        # Two rows of three images of 32, and 2 pixels of white around each row.
        assert grid.shape == (2 * (32 + 2) + 2, 3 * 32 + 4, 3)
        for top in (2, 36):
            grey, prediction, truth = (
                grid[top : top + 32, 2 + 32 * i : 34 + 32 * i] for i in range(3)
            )
            assert saturation(grey) < 1.5
            assert saturation(prediction) > 3
            assert saturation(truth) > 15
            assert grey.std() > 3
            for image in (grey, prediction, truth):
                assert 20 < image.mean() < 240


def test_grids_show_always_the_same_images(finished_run):
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
def test_they_are_shown_every_so_many_epochs_and_at_the_end(monkeypatch, tmp_path, every, shown):
    logged = []
    monkeypatch.setattr(
        "lightning_colorize.training.callbacks.grids.log_images",
        lambda loggers, name, image, step: logged.append((step, image.shape)),
    )
    grids = ImageGrids(BestCheckpoint(tmp_path, None, "max"), count=3, every_n_epochs=every)
    batch = ColorBatch(L=images()[0], ab=images()[2], names=["a", "b"])
    for epoch in range(7):
        run = {"current_epoch": epoch, "max_epochs": 7, "default_root_dir": tmp_path}
        trainer = fake_trainer(6, **run, global_step=epoch + 1)
        for number in range(3):
            grids.on_validation_batch_end(trainer, None, images()[1], batch, number)
        grids.on_validation_epoch_end(trainer, None)
        grids.on_validation_end(trainer, None)
    assert [step for step, _ in logged] == shown
    assert {shape for _, shape in logged} == {(3, 3 * (6 + 2) + 2, 15 + 4)}


def test_they_come_from_all_over_the_split(monkeypatch, tmp_path):
    logged = []
    monkeypatch.setattr(
        "lightning_colorize.training.callbacks.grids.log_images",
        lambda loggers, name, image, step: logged.append(image),
    )
    trainer = fake_trainer(10, max_epochs=1, global_step=1)
    L, ab_hat, ab = images(count=10)
    grids = ImageGrids(BestCheckpoint(tmp_path, None, "max"), count=3)
    for start, stop in ((0, 4), (4, 8), (8, 10)):
        part = slice(start, stop)
        batch = ColorBatch(L[part], ab[part], [f"{i}.jpg" for i in range(start, stop)])
        grids.on_validation_batch_end(trainer, None, ab_hat[part], batch, 0)
    grids.on_validation_epoch_end(trainer, None)
    expected = grid_rows(L[[0, 3, 6]], ab_hat[[0, 3, 6]], ab[[0, 3, 6]])
    rows = [logged[0][:, 2 + 8 * i : 8 + 8 * i, 2:17] for i in range(3)]
    assert torch.equal(torch.stack(rows), expected)


@pytest.mark.parametrize(
    ("mode", "monitor", "kept"),
    [("max", "val/psnr", [0, 1, 3]), ("min", "val/psnr", [0, 2]), ("max", None, [0, 1, 2, 3])],
)
def test_grids_of_the_best_epoch_are_not_deleted(monkeypatch, tmp_path, mode, monitor, kept):
    logged = []
    monkeypatch.setattr(
        "lightning_colorize.training.callbacks.grids.write_best_images",
        lambda folder, best: logged.append((len(scores_so_far) - 1, best)),
    )
    best = BestCheckpoint(tmp_path, monitor, mode)
    strategy = SimpleNamespace(reduce_boolean_decision=lambda decision: decision)
    grids = ImageGrids(best, count=2, every_n_epochs=100)
    L, ab_hat, ab = images()
    scores_so_far = []
    for score in (20.0, 21.0, 19.0, 22.0):
        scores_so_far.append(score)
        metrics = {"val/psnr": torch.tensor(score)}
        trainer = fake_trainer(2, callback_metrics=metrics, strategy=strategy, max_epochs=-1)
        grids.on_validation_batch_end(trainer, None, ab_hat, ColorBatch(L, ab, ["a", "b"]), 0)
        grids.on_validation_epoch_end(trainer, None)
        grids.on_validation_end(trainer, None)
        # As ModelCheckpoint does after it.
        better = max(scores_so_far) if mode == "max" else min(scores_so_far)
        best.best_k_models = {"best.ckpt": torch.tensor(better)}
        best.kth_best_model_path = "best.ckpt"
    assert [epoch for epoch, _ in logged] == kept
    assert [[image.name for image in best] for _, best in logged] == [["a", "b"]] * len(kept)


def test_the_best_images_are_on_disk_with_names_and_differences(finished_run):
    found = read_best_images(finished_run)
    assert len(found) == 2
    rows = [row for row in metric_rows(finished_run) if row["val/psnr"]]
    best = max(rows, key=lambda row: float(row["val/psnr"]))
    grid = np.asarray(Image.open(finished_run / f"images/val_grid_{int(best['step']) + 1:08d}.png"))
    for number, image in enumerate(found):
        top = 2 + 34 * number
        assert (image.row == grid[top : top + 32, 2:98]).all()
        assert image.name.startswith(("02", "val/02"))
        prediction, truth = (rgb2lab(part) for part in np.split(image.row, 3, axis=1)[1:])
        # Rounded to 8 bits, and brought into the gamut, as the metric is not.
        expected = deltaE_ciede2000(prediction, truth).mean()
        assert image.ciede2000 == pytest.approx(expected, abs=0.3)


def test_no_images_are_no_grids(command):
    run = command.fit("none", "--run.grid_images", 0, "--trainer.max_epochs", 1)
    assert not list(run.glob("images/*"))
