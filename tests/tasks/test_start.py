"""A GAN whose generator starts from a trained network."""

import shutil

import pytest
import torch

from lightning_colorize.inference import load_model
from lightning_colorize.runs.result import RunResult
from tests.conftest import Commands
from tests.tasks.conftest import make_gan, state

GENERATOR = [
    *("--model.encoder", "UNetEncoder", "--model.encoder.depth", 3, "--model.encoder.width", 4),
    *("--model.decoder", "UNetDecoder", "--model.head", "DeconvHead"),
]


@pytest.fixture(scope="module")
def regression_run(photo_folder, tmp_path_factory):
    """The folder of a regression of the tiny GAN's generator; read only."""
    command = Commands(photo_folder, tmp_path_factory.mktemp("regression"))
    words = command.words("unet", *GENERATOR, "--trainer.max_epochs", 1)
    widths = words.index("--model.encoder.widths")  # of the encoder that is replaced
    del words[widths : widths + 2]
    assert command("fit", *words) == 0
    return command.root / "tiny" / "unet"


def network(run):
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    return {
        name.removeprefix("net."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("net.")
    }


@pytest.mark.parametrize("file", ["", "checkpoints/best.ckpt"])
def test_generator_starts_from_a_regression(regression_run, file):
    trained = network(regression_run)
    task = make_gan(generator_checkpoint=str(regression_run / file), ema_decay=0.9)
    for module in (task.net, task.averaged.module):
        loaded = state(module)
        assert loaded.keys() == trained.keys()
        assert all(torch.equal(loaded[name], value) for name, value in trained.items())
    assert not torch.equal(make_gan().net.head.conv.weight, trained["head.conv.weight"])


def test_resuming_and_loading_do_not_need_the_file(gan_command, stop_in, regression_run, tmp_path):
    source = shutil.copytree(regression_run, tmp_path / "source")
    stop_in(2)
    words = gan_command.words("orphan", "--model.generator_checkpoint", source)
    assert gan_command("fit", *words) == 130
    shutil.rmtree(source)
    run = gan_command.root / "tiny" / "orphan"
    assert gan_command("resume", run) == 0
    assert RunResult.read(run).status == "finished"
    load_model(run)
