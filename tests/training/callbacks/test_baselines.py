import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.metrics import Baselines
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training.callbacks import BaselineMetrics


def test_baselines_are_measured_on_the_same_images_as_the_network(finished_run, photo_folder):
    table = RunResult.read(finished_run).baselines["grey"]
    data = ColorizationDataModule(str(photo_folder), size=32, batch_size=1, num_workers=0)
    data.setup("validate")
    by_hand = [
        np.square(rgb2lab(batch.rgb[0].permute(1, 2, 0).numpy())[..., 1:]).mean()
        for batch in data.val_dataloader()
    ]
    assert table["val/mse_ab"] == pytest.approx(np.mean(by_hand), rel=1e-3)


def test_baselines_are_fitted_on_training_images_and_saved(finished_run, photo_folder):
    callbacks = torch.load(finished_run / "checkpoints/last.ckpt", weights_only=True)["callbacks"]
    state = callbacks["BaselineMetrics"]
    options = {"size": 32, "batch_size": 4, "num_workers": 0, "cache": "always"}
    data = ColorizationDataModule(str(photo_folder), **options)
    data.setup("fit")
    fitted = Baselines()
    for batch in data.color_batches("train"):
        fitted.update(batch)
    fitted.finish()
    torch.testing.assert_close(state["baselines"], dict(fitted.state_dict()))
    loaded = BaselineMetrics()
    loaded.load_state_dict(state)
    assert (
        loaded.table["lut"]["val/psnr"] == RunResult.read(finished_run).baselines["lut"]["val/psnr"]
    )
    loaded.on_fit_start(None, None)  # fitted already: does not read the training images


def test_few_images_are_enough(tmp_path, command):
    folder = tmp_path / "photos"
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        Image.new("RGB", (40, 40), (200, 90, 60)).save(folder / split / "a.png")
    run = command.fit("one", "--data.root", folder, "--trainer.max_epochs", 1)
    result = RunResult.read(run)
    # Images of one color: the mean is the truth.
    assert result.baselines["mean"]["val/mse_ab"] < 1e-3
    assert "test/psnr" not in result.metrics
