"""GAN runs of the command: counted steps, start, resuming, refused settings, two processes."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.inference import load_model
from lightning_colorize.runs.result import RunResult
from lightning_colorize.tasks import CGANTask
from tests.conftest import Commands, metric_rows
from tests.distributed.launchers import train_in_two_forks
from tests.tasks.conftest import TINY_GAN, GanCommands, make_gan, make_trainer, state
from tests.training.test_resume import check_all

MULTI_GPU = Path(__file__).parents[2] / "experiments/trainer/multi_gpu.yaml"
STAGED = [
    *("--model.generator_epochs", 1, "--model.discriminator_epochs", 1),
    *("--trainer.max_epochs", 3),
]


@pytest.fixture(scope="module")
def staged_run(photo_folder, tmp_path_factory):
    """The folder of a run of all stages, three batches each; read only."""
    command = GanCommands(photo_folder, tmp_path_factory.mktemp("staged"))
    return command.fit("all", *STAGED, "--model.ema_decay", 0.9, "--run.keep_every_n_steps", 2)


def last(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)


def test_steps_are_batches_over_all_stages(staged_run):
    assert RunResult.read(staged_run).batches == last(staged_run)["global_step"] == 9
    trained = [int(row["step"]) for row in metric_rows(staged_run) if row["train/d_loss"]]
    curves = EventAccumulator(str(staged_run / "tensorboard")).Reload()
    assert trained[-1] == curves.Scalars("train/d_loss")[-1].step == 8


def test_weights_are_kept_while_both_networks_train(staged_run):
    kept = staged_run / "checkpoints/step_8.ckpt"
    assert sorted((staged_run / "checkpoints").glob("step_*")) == [kept]
    assert CGANTask.load_from_checkpoint(kept).loss_weight == 100
    checkpoint = torch.load(kept, weights_only=True)
    assert "optimizer_states" not in checkpoint


# Resume.

STATEFUL = [
    *STAGED,
    *("--data.augmentation.grey_jitter", 0.5, "--data.augmentation.rotation", 5),
    *("--run.save_every_n_minutes", 1e-9),
    *("--model.generator_scheduler", "lightning_colorize.tasks.WarmupCosine"),
    *("--model.discriminator_scheduler", "torch.optim.lr_scheduler.StepLR"),
    *("--model.discriminator_scheduler.step_size", 1, "--model.ema_decay", 0.9),
]
CASES = {
    "stages": [],
    "dropout": ["--model.encoder.depth", 5],
    "spectral": ["--model.discriminator.norm", "spectral"],
    "accumulated": ["--model.accumulate_grad_batches", 2],
    "skips": ["--model.generator_every_n_batches", 2, "--model.gradient_clip_val", 1],
    "plateau": [
        *("--model.generator_scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau"),
        *("--model.generator_scheduler.patience", 0),
    ],
}


def same(first, second):
    """Return whether nested states are equal, bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def check_resumes(command, stop_in, options, batches):
    """Stop in these batches and resume; weights, average, metrics, optimizers and rates agree."""
    check_all(command, stop_in, options, batches)
    uninterrupted, *resumed = (
        last(command.root / "tiny" / name)
        for name in ["uninterrupted", *(f"stopped-{batch}" for batch in batches)]
    )
    assert any(name.startswith("averaged.") for name in uninterrupted["state_dict"])
    for checkpoint in resumed:
        for part in ("optimizer_states", "lr_schedulers", "global_step", "epoch"):
            assert same(checkpoint[part], uninterrupted[part]), part


def test_resume_is_bit_exact(gan_command, stop_in):
    # In the middle of the discriminator's stage.
    check_resumes(gan_command, stop_in, STATEFUL, [5])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_resume_is_bit_exact_in_each_stage(gan_command, stop_in, case):
    batches = [2, 3, 6, 7] if case == "stages" else [5, 8]
    check_resumes(gan_command, stop_in, [*STATEFUL, *CASES[case]], batches)


# Refused settings.

ACCEPTED = {"gradient_clip_val": None, "accumulate_grad_batches": 1, "precision": "32-true"}
ACCEPTED |= {"max_epochs": 3}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gradient_clip_val": 1}, "--model.gradient_clip_val"),
        ({"accumulate_grad_batches": 2}, "--model.accumulate_grad_batches"),
        ({"precision": "16-mixed"}, "bf16-mixed, 32-true, 64-true"),
        ({"max_epochs": 2}, "3 or more: the two networks would never"),
    ],
)
def test_unsupported_settings_of_the_trainer_are_refused(changed, message):
    task = make_gan(generator_epochs=1, discriminator_epochs=1)
    task.check(ACCEPTED, 32)
    with pytest.raises(UsageError, match=message):
        task.check(ACCEPTED | changed, 32)


def test_images_too_small_for_the_discriminator_are_refused(gan_command, capsys):
    words = gan_command.words("refused", "--model.discriminator.layers", 4)
    assert gan_command("fit", *words) == 2
    message = "48 or more with this discriminator; or give it fewer --model.discriminator.layers"
    assert message in capsys.readouterr().err
    assert not (gan_command.root / "tiny" / "refused").exists()


# Two processes.


@pytest.fixture(scope="module")
def two_processes(photo_folder, tmp_path_factory):
    """The folder of a run of all stages in two processes, and the last weights of each process."""
    folder = tmp_path_factory.mktemp("two")
    command = GanCommands(photo_folder, folder)
    fragment = yaml.safe_load(MULTI_GPU.read_text())["trainer"]
    strategy = ["--trainer.strategy", fragment["strategy"]]
    options = [*STAGED, *strategy, "--data.batch_size", 2]
    options += ["--trainer.callbacks+", "tests.distributed.recorder.BatchRecorder"]
    options += ["--trainer.callbacks.folder", folder, "--model.ema_decay", 0.9]
    train_in_two_forks(command.words("two", *options))
    weights = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    return command.root / "tiny" / "two", weights


@pytest.mark.ddp
def test_two_processes_end_with_the_same_weights(two_processes):
    run, (first, second) = two_processes
    saved = last(run)["state_dict"]
    assert same(first, second)
    assert same(first, saved)
    # Batch norm in both networks; in manual optimization DDP does not broadcast its statistics.
    for prefix in ("net.", "discriminator."):
        assert any(name.startswith(prefix) and "running_mean" in name for name in saved)


@pytest.mark.ddp
def test_two_processes_have_the_metrics_of_one(two_processes, photo_folder):
    run, _ = two_processes
    data = ColorizationDataModule(str(photo_folder), size=32, batch_size=4, num_workers=0)
    task = CGANTask.load_from_checkpoint(run / "checkpoints/best.ckpt").eval()
    measured = make_trainer().test(task, data, verbose=False)[0]
    result = RunResult.read(run).metrics
    for name, value in measured.items():
        assert result[name] == pytest.approx(value, rel=1e-4, abs=1e-4), name
    task = CGANTask.load_from_checkpoint(run / "checkpoints/last.ckpt").eval()
    measured = make_trainer().validate(task, data, verbose=False)[0]
    row = [row for row in metric_rows(run) if row["val/psnr"]][-1]
    for name, value in measured.items():
        assert float(row[name]) == pytest.approx(value, rel=1e-4, abs=1e-4), name


# Start from a trained network.

GENERATOR = {
    "--model": "RegressionTask",
    **{name: value for name, value in TINY_GAN.items() if "encoder" in name},
    **{"--model.decoder": "UNetDecoder", "--model.head": "DeconvHead", "--model.loss": "L1"},
}


@pytest.fixture(scope="module")
def regression_run(photo_folder, tmp_path_factory):
    """The folder of a regression of the tiny GAN's generator; read only."""
    command = Commands(photo_folder, tmp_path_factory.mktemp("regression"), GENERATOR)
    return command.fit("unet", "--trainer.max_epochs", 1)


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
