"""Sampling of colors: training by hand, resume, two processes, samples in every form."""

from functools import partial
from pathlib import Path

import pytest
import torch

from lightning_colorize.color import NO_CONDITION, Condition
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.inference import Colorizer, load_model
from lightning_colorize.losses import L1, CrossEntropy
from lightning_colorize.networks import ConditionedEncoder, ConvEncoder, Denoiser, UpsampleDecoder
from lightning_colorize.runs.result import RunResult
from lightning_colorize.tasks import GenerativeTask, RegressionTask
from tests.conftest import Commands, write_images
from tests.distributed.launchers import train_in_two_forks
from tests.tasks.conftest import changed, make_trainer, state
from tests.tasks.test_cgan_runs import last, same
from tests.training.test_resume import check_all

TINY = {
    "--model": "lightning_colorize.tasks.GenerativeTask",
    "--model.encoder": "lightning_colorize.networks.ConvEncoder",
    "--model.encoder.widths": "[4,8,8]",
    "--model.denoiser": "lightning_colorize.networks.Denoiser",
    "--model.denoiser.width": "8",
    "--model.denoiser.blocks": "[1,1,1]",
    "--model.steps": "2",
    "--model.optimizer": "torch.optim.Adam",
    "--model.optimizer.lr": "0.01",
}
CONDITIONED = [
    *("--model.encoder", "lightning_colorize.networks.ConditionedEncoder"),
    *("--model.encoder.encoder", "lightning_colorize.networks.ConvEncoder"),
    *("--model.encoder.encoder.widths", "[4,8,8]"),
]


GenerativeCommands = partial(Commands, network=TINY)


@pytest.fixture
def generative_command(photo_folder, tmp_path):
    return GenerativeCommands(photo_folder, tmp_path / "runs")


def make_task(encoder=None, loss=None, **options):
    torch.manual_seed(0)
    return GenerativeTask(
        encoder or ConvEncoder(widths=[4, 8, 8]),
        loss=loss,
        denoiser=partial(Denoiser, width=8, blocks=(1, 1, 1)),
        **{"ema_decay": None, **options},
    )


def sampled(model, L, n=1, seed=0, **settings):
    generators = model.generators(L, seed)
    return model.color(L, NO_CONDITION, model.settings.updated(settings), n, generators)


def test_the_mean_is_frozen_at_first_and_trained_at_last(data):
    task = make_task(joint=0.5)
    before = state(task.net)
    make_trainer(max_epochs=1, limit_val_batches=0).fit(task, data)
    frozen = state(task.net)
    names = changed(before, frozen)
    assert names
    assert all(name.startswith(("denoiser.", "head.bins.")) for name in names)
    make_trainer(max_epochs=2, limit_val_batches=0).fit(make := make_task(joint=0.5), data)
    assert changed(frozen, state(make.net), "encoder.")


@pytest.mark.parametrize("wrap", [lambda encoder: encoder, ConditionedEncoder])
def test_starts_from_a_regression_network(data, tmp_path, wrap):
    torch.manual_seed(1)
    base = RegressionTask(wrap(ConvEncoder(widths=[4, 8, 8])), CrossEntropy())
    trainer = make_trainer(max_epochs=1, limit_val_batches=0)
    trainer.fit(base, data)
    trainer.save_checkpoint(tmp_path / "base.ckpt")
    checkpoint = str(tmp_path / "base.ckpt")
    task = make_task(wrap(ConvEncoder(widths=[4, 8, 8])), checkpoint=checkpoint)
    L = torch.rand(1, 1, 32, 32) * 100
    torch.testing.assert_close(task.eval().predict(L), base.eval().predict(L))
    given = L / 50 - 1, Condition(hints=torch.rand(1, 3, 32, 32).round())
    torch.testing.assert_close(task.net(*given), base.net(*given))
    faithful = base.to_model()
    settings = faithful.settings.updated({"vividness": 0.0, "temperature": 1.0})
    mean = sampled(task.to_model(), L, variety=0.0)
    torch.testing.assert_close(mean, faithful.color(L, settings=settings))


@pytest.mark.parametrize(
    ("options", "match"),
    [({"joint": 2}, "joint must be from 0 to 1"), ({"image_dropout": -1}, "image_dropout must")],
)
def test_shares_out_of_range(options, match):
    with pytest.raises(ValueError, match=match):
        make_task(**options)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_pure_16_bits_are_refused(precision):
    with pytest.raises(UsageError, match="accepted: bf16-mixed"):
        make_task(loss=L1()).check({"precision": precision, "gradient_clip_val": None}, 32)


@pytest.mark.parametrize("loss", [L1, CrossEntropy])
def test_exported_network_has_the_same_samples(loss, tmp_path):
    decoder = partial(UpsampleDecoder, widths=[8, 8])
    task = make_task(loss=loss(), decoder=decoder).eval()
    trainer = make_trainer()
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = GenerativeTask.load_from_checkpoint(tmp_path / "a.ckpt").eval().to_model()
    Colorizer(loaded).export(tmp_path / "a.safetensors")
    again = load_model(tmp_path / "a.safetensors").model
    L = torch.rand(1, 1, 32, 32) * 100
    expected = sampled(task.to_model(), L, n=2)
    torch.testing.assert_close(sampled(loaded, L, n=2), expected)
    torch.testing.assert_close(sampled(again, L, n=2), expected, atol=0.3, rtol=0)


def test_labels_of_a_resumed_run_keep_their_meaning(tmp_path):
    """On other data, whose classes come before those of the checkpoint."""
    seen = []
    for folder, epochs in (("cat", 1), ("ant", 2)):
        for split in ("train", "val"):
            for number, label in enumerate((folder, "dog")):
                write_images(tmp_path / folder / split / label, 2, first=10 * number)
        task = make_task(ConditionedEncoder(ConvEncoder(widths=[4, 8, 8]), labels=3), ema_decay=0.9)
        learn = task.training_step
        task.training_step = lambda batch, index, learn=learn: (
            seen.extend(zip(batch.names, batch.condition.labels.tolist(), strict=True)),
            learn(batch, index),
        )[1]
        data = ColorizationDataModule(str(tmp_path / folder), size=32, num_workers=0)
        trainer = make_trainer(max_epochs=epochs, limit_val_batches=0)
        trainer.fit(task, data, ckpt_path=tmp_path / "a.ckpt" if epochs > 1 else None)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert {(Path(name).parent.name, label) for name, label in seen} == {
        ("cat", 0),
        ("dog", 1),
        ("ant", 2),
    }
    for net in (task.net, task.averaged.module):
        assert net.encoder.label_names == ["cat", "dog", "ant"]


# Runs of the command.


def test_labels_come_from_the_data_and_are_in_every_form(generative_command, tmp_path):
    photos = tmp_path / "photos"
    for split in ("train", "val", "test"):
        for label in ("cat", "dog"):
            write_images(photos / split / label, 4)
    options = [*CONDITIONED, "--model.encoder.labels", 3, "--data.root", photos]
    options += ["--model.joint", 1, "--run.monitor", "val/coarse_energy"]
    run = generative_command.fit("labels", *options, "--model.ema_decay", 0.9)
    best = RunResult.read(run)
    assert 0 < best.metrics["val/coarse_energy"] < best.metrics["val/energy"]
    model = load_model(run).model
    assert model.label_names == ["cat", "dog"]
    assert model.conditions == {"hints", "palette", "label", "reference"}
    Colorizer(model).export(tmp_path / "a.safetensors")
    again = load_model(tmp_path / "a.safetensors").model
    assert again.label_names == ["cat", "dog"]
    L = torch.rand(1, 1, 32, 32) * 100
    by_label = [again.color(L, Condition(labels=torch.tensor([label]))) for label in (-1, 0, 1)]
    assert torch.equal(by_label[0], again.color(L))
    assert not torch.equal(by_label[1], by_label[2])
    words = generative_command.words("few", *options, "--model.encoder.labels", 1)
    assert generative_command("fit", *words) == 2


@pytest.mark.slow
def test_resume_is_bit_exact(generative_command, stop_in):
    given = [*CONDITIONED, "--model.joint", 0.5, "--model.ema_decay", 0.9]
    given += ["--data.augmentation.rotation", 5]
    check_all(generative_command, stop_in, given, [2, 5])
    run = generative_command.root / "tiny"
    first, other = (last(run / name) for name in ("uninterrupted", "stopped-2"))
    assert same(first["optimizer_states"], other["optimizer_states"])
    assert any(name.startswith("averaged.module.denoiser") for name in first["state_dict"])


@pytest.mark.ddp
def test_two_processes_end_with_the_same_weights(photo_folder, tmp_path):
    command = GenerativeCommands(photo_folder, tmp_path)
    options = ["--data.batch_size", 2, "--model.joint", 0.5]
    options += ["--trainer.callbacks+", "tests.distributed.recorder.BatchRecorder"]
    options += ["--trainer.callbacks.folder", tmp_path]
    options += ["--trainer.strategy", GenerativeTask.distributed_strategy]
    train_in_two_forks(command.words("two", *options))
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same(first, second)
    assert RunResult.read(tmp_path / "tiny" / "two").status == "finished"
