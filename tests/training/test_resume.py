"""A resumed run equals an uninterrupted one, bit for bit."""

import copy
import errno
import io
import json
import os
import shutil
import signal
from functools import partial

import pytest
import torch

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs import folder as run_folder
from lightning_colorize.runs.folder import BEST, LAST, flatten, is_running, lock, read_config
from lightning_colorize.runs.result import RunResult
from lightning_colorize.runs.resuming import is_kept, refuse_settings_of_checkpoint
from lightning_colorize.tasks import RegressionTask
from lightning_colorize.training.callbacks.stopping import GracefulStop
from lightning_colorize.training.callbacks.throughput import Throughput
from tests.conftest import metric_rows

# Everything random or stateful: crops, flips, grey jitter, damage, momentum, a schedule, a moving
# average of weights, the metric's average.
STATEFUL = [f"--data.augmentation.{name}=0.5" for name in ("blur", "grain", "jpeg", "mixup")]
STATEFUL += [f"--data.augmentation.{name}_jitter=0.5" for name in ("grey", "color")]
STATEFUL += ["--data.augmentation.rotation=5", "--model.encoder_lr_decay=0.5"]
STATEFUL += ["--model.scheduler=lightning_colorize.tasks.WarmupCosine"]
STATEFUL += ["--run.smoothing=2", "--run.save_every_n_minutes=1e-9"]
ONE_EPOCH = ("--trainer.max_epochs", "1")
CASES = {
    "steps": ["--trainer.max_epochs", "-1", "--trainer.max_steps", "8", "--run.patience", "9"],
    "short epochs": ["--trainer.limit_train_batches", "2", "--trainer.max_epochs", "3"],
    "accumulated": ["--trainer.accumulate_grad_batches", "2", "--data.batch_size", "2"],
    "validated often": ["--trainer.val_check_interval", "2", "--data.batch_size", "2"],
    "validated seldom": ["--trainer.check_val_every_n_epoch", "2", "--trainer.max_epochs", "3"],
    "plateau": [
        *("--model.scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau"),
        *("--model.scheduler.patience", "0", "--trainer.max_epochs", "4"),
        *("--model.optimizer.lr", "0.1"),
    ],
    "ema": [
        *("--model.ema_decay", "0.9"),
        *("--model.decoder", "UpsampleDecoder", "--model.decoder.channel_dropout", "0.5"),
    ],
    "averaged": [
        *("--trainer.callbacks", "pytorch_lightning.callbacks.EMAWeightAveraging"),
        *("--trainer.callbacks.decay", "0.9"),
    ],
}
NOT_COMPARED = {"seconds", "images_per_second", "device_hours", "restarts", "git_commit"}
NOT_COMPARED |= {"steady_images_per_second", "data_wait_share"}


@pytest.fixture
def restored_handlers():
    """Restore the signal handlers after the test."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def assert_same_run(resumed, uninterrupted):
    """Weights, metrics and result are equal but for times."""
    first, second = weights(resumed), weights(uninterrupted)
    assert first.keys() == second.keys()
    assert not [name for name in first if not torch.equal(first[name], second[name])]
    assert metric_rows(resumed) == metric_rows(uninterrupted)
    first, second = (
        {n: v for n, v in vars(RunResult.read(run)).items() if n not in NOT_COMPARED}
        for run in (resumed, uninterrupted)
    )
    assert first == second


def check_all(command, stop_in, options, batches, number=signal.SIGINT):
    """Stop runs in each of these batches, resume them, compare them with an uninterrupted one."""
    uninterrupted = command.fit("uninterrupted", *options)
    last = RunResult.read(uninterrupted).batches
    for batch in batches:
        stop_in(batch, number)
        run = command.root / "tiny" / f"stopped-{batch}"
        code = command("fit", *command.words(run.name, *options))
        if batch < last - 1:
            assert code == 128 + number
        if code:
            assert RunResult.read(run).status == "interrupted"
            assert command("resume", run) == 0
            assert RunResult.read(run).restarts == 1
        assert_same_run(run, uninterrupted)


def test_resume_is_bit_exact(command, stop_in):
    options = [*STATEFUL, *CASES["ema"], "--data.num_workers", 1]
    check_all(command, stop_in, options, [2], signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_resume_is_bit_exact_in_any_setting(command, stop_in, case):
    # In the last batch of an epoch, and in the middle of one.
    check_all(command, stop_in, [*STATEFUL, *CASES[case]], [3, 5])


def test_signal_in_the_last_batch_leaves_the_test_to_resume(command, stop_in, stopped, capsys):
    run = stopped("late", *ONE_EPOCH, batch=3, number=signal.SIGTERM)
    assert RunResult.read(run).status == "interrupted"
    assert "SIGTERM: writing a checkpoint after this batch" in capsys.readouterr().err
    assert command("resume", run) == 0
    assert RunResult.read(run).status == "finished"
    assert "test/psnr" in RunResult.read(run).metrics
    # Without a test, nothing is left to resume.
    stop_in(3)
    untested = command.fit("untested", *ONE_EPOCH, "--run.test", "false")
    assert RunResult.read(untested).status == "finished"


def test_signal_interrupts_the_test(command, monkeypatch):
    tested = []

    def test_step(self, batch, batch_idx):
        tested.append(batch_idx)
        signal.raise_signal(signal.SIGTERM)
        return self(batch.L)

    words = command.words("testing", *ONE_EPOCH, "--data.batch_size", 1)
    with monkeypatch.context() as patched:
        patched.setattr(RegressionTask, "test_step", test_step)
        assert command("fit", *words) == 143
    assert tested == [0]
    run = command.root / "tiny" / "testing"
    assert RunResult.read(run).status == "interrupted"
    assert command("resume", run) == 0
    assert "test/psnr" in RunResult.read(run).metrics


def test_refused_resume_changes_nothing(command, stopped, error_of):
    run = stopped("refused", *STATEFUL, batch=5)
    before = (run / "config.yaml").read_bytes()
    line = error_of("resume", run, "--trainer.max_epochs", 0)
    assert line.endswith("the run has begun epoch 2; give 3")
    assert "with 4 images in a batch" in error_of("resume", run, "--data.batch_size", 3)
    assert (run / "config.yaml").read_bytes() == before
    assert command("resume", run) == 0


def test_a_second_ctrl_c_stops_at_once(command, stop_in, restored_handlers, capsys):
    stop_in(2, signal.SIGINT, signal.SIGINT)
    assert command("fit", *command.words("twice")) == 130
    run = command.root / "tiny" / "twice"
    assert RunResult.read(run).status == "interrupted"
    assert RunResult.read(run).batches == 1
    assert not (run / "checkpoints/last.ckpt").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_resume_refusals(error_of, finished_run, tmp_path):
    refusal = partial(error_of, "resume")
    assert f"nothing to resume: {finished_run} is finished" in refusal(finished_run)
    assert f"{tmp_path} is not a run folder: it has no config.yaml" in refusal(tmp_path)
    (tmp_path / "config.yaml").touch()
    assert "has no checkpoints/last.ckpt; start over with fit" in refusal(tmp_path)
    assert "required: RUN" in refusal()
    words = ("--model.scheduler", "torch.optim.lr_scheduler.ConstantLR")
    err = refusal(finished_run, "--trainer.max_epochs", 3, *words)
    assert f"optimizer, validation and callbacks: {' '.join(words)} (the run has null)" in err


KEPT = ["seed_everything", "data.seed", "data.size", "data.resize", "run.monitor", "run.mode"]
KEPT += ["run.smoothing", "run.root", "run.name", "trainer.callbacks", "trainer.limit_val_batches"]
KEPT += ["model.class_path", "model.init_args.loss.class_path", "model.init_args.optimizer.lr"]
CHANGED = ["compile", "channels_last", "metrics", "metrics.error", "encoder.init_args.size"]
CHANGED += ["loss.init_args.teacher"]
CHANGED = [f"model.init_args.{name}" for name in CHANGED]
CHANGED += ["data.root", "data.batch_size", "run.patience", "run.test", "trainer.max_epochs"]


def test_settings_that_a_resumed_run_keeps(finished_run):
    assert [name for name in (*KEPT, *CHANGED) if is_kept(name)] == KEPT
    config = flatten(read_config(finished_run))
    with pytest.raises(UsageError, match=r"a resumed run keeps .*: --data.size other"):
        refuse_settings_of_checkpoint(finished_run, config | {"data.size": "other"})
    refuse_settings_of_checkpoint(finished_run, config | {"data.batch_size": "other"})


def test_a_full_disk_while_a_run_is_restored(command, finished_run, error_of, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Throughput, "load_state_dict", full)
    err = error_of("resume", finished_run, "--trainer.max_epochs", 3, code=1)
    assert f"{finished_run} cannot be written to: No space left on device" in err


def with_infinite_moments(content):
    checkpoint = torch.load(io.BytesIO(content), weights_only=True)
    for state in checkpoint["optimizer_states"][0]["state"].values():
        state["exp_avg_sq"].fill_(torch.inf)
    torch.save(checkpoint, file := io.BytesIO())
    return file.getvalue()


def truncated(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("method", "damage"), [("resume", with_infinite_moments), ("auto_resume", truncated)]
)
def test_a_damaged_last_checkpoint_is_replaced_by_the_best(
    command, stopped, capsys, method, damage
):
    options = [*STATEFUL, "--run.auto_resume", "true"]
    run = stopped("damaged", *options, batch=5)
    last, best = run / LAST, run / BEST
    last.write_bytes(damage(last.read_bytes()))
    capsys.readouterr()
    fit = ["fit", *command.words("damaged", *options)]
    assert command(*(["resume", run] if method == "resume" else fit)) == 0
    err = capsys.readouterr().err
    assert err.startswith((f"{last} is damaged", f"{last} has an optimizer state that"))
    assert err.endswith(f"; {best} of step 3 is used instead\n")
    assert err.count("\n") == 1
    result = RunResult.read(run)
    assert (result.status, result.epochs, result.batches) == ("finished", 2, 6)
    steps = [int(row["step"]) for row in metric_rows(run) if row["train/loss"]]
    assert steps == list(range(6))
    assert torch.load(last, weights_only=True)["global_step"] == 6


def test_a_deleted_last_checkpoint_is_replaced_by_the_best(command, stopped):
    run = stopped("deleted", "--run.auto_resume", "true", batch=5)
    (run / LAST).unlink()
    assert command("fit", *command.words("deleted", "--run.auto_resume", "true")) == 0
    result = RunResult.read(run)
    assert (result.status, result.restarts, result.batches) == ("finished", 1, 6)


OTHER_VALUES = {
    "baselines": lambda c: c["callbacks"].update(BaselineMetrics={"baselines": 1}),
    "groups": lambda c: c["optimizer_states"][0].update(param_groups=3),
    "no schedules": lambda c: c.pop("lr_schedulers"),
}


def test_a_checkpoint_of_other_values_is_one_line(error_of, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    file = run / LAST
    (run / BEST).unlink()
    whole = torch.load(file, weights_only=True)
    before = [(run / name).read_bytes() for name in ("metrics.csv", "result.json")]
    for case, change in OTHER_VALUES.items():
        checkpoint = copy.deepcopy(whole)
        change(checkpoint)
        torch.save(checkpoint, file)
        line = error_of("resume", run, "--trainer.max_epochs", 3)
        assert f"{file} does not fit" in line, case
    assert [(run / name).read_bytes() for name in ("metrics.csv", "result.json")] == before


def test_the_last_weights_are_tested_if_the_best_are_damaged(command, monkeypatch, capsys):
    run = command.root / "tiny" / "damaged"

    def damage(self):
        (run / BEST).write_bytes(b"")

    # Called between the training and its test.
    monkeypatch.setattr(GracefulStop, "stop_if_signaled", damage)
    assert command("fit", *command.words("damaged")) == 0
    err = capsys.readouterr().err
    assert f"{run / BEST} is damaged" in err
    assert f"{run / LAST} of step 6 is used instead" in err
    assert "test/psnr" in RunResult.read(run).metrics


def test_locked_run_is_not_resumed(command, finished_run, capsys, monkeypatch):
    folder = command.root / "tiny" / "busy"
    folder.mkdir(parents=True)
    monkeypatch.setattr(run_folder, "_PATIENCE", 0.1)
    with lock(folder):
        assert is_running(folder)
        assert command("fit", *command.words("busy")) == 2
    assert f"another process is writing into {folder} now" in capsys.readouterr().err
    assert not is_running(folder)
    assert not is_running(finished_run)


def test_a_run_is_resumed_from_any_folder(command, stopped, monkeypatch, tmp_path):
    monkeypatch.chdir(command.photos.parent)
    excluded = tmp_path / "excluded.txt"
    excluded.write_text(f"train/{next((command.photos / 'train').iterdir()).name}\n")
    folder = {"root": command.photos.name, "exclude_list": os.path.relpath(excluded)}
    data = ["--data.root", ".", "--data.source", "lightning_colorize.data.sources.MixtureSource"]
    run = stopped("moved", *data, "--data.source.folders", json.dumps([folder]))
    monkeypatch.chdir(tmp_path)
    assert command("resume", run) == 0


def test_a_finished_run_can_be_trained_longer(command):
    options = ["--model.scheduler", "torch.optim.lr_scheduler.StepLR"]
    options += ["--model.scheduler.step_size", 1]
    run = command.fit("longer", *options, *ONE_EPOCH)
    config = run / "config.yaml"  # of an older version, which saved by steps
    old = config.read_text().replace("save_every_n_minutes: 5.0", "save_every_n_steps: 500")
    config.write_text(old)
    assert command("resume", run, "--trainer.max_epochs", 2) == 0
    assert "save_every_n_steps" in old
    assert "save_every_n_steps" not in config.read_text()
    whole = command.fit("whole", *options)
    for name, value in weights(whole).items():
        assert torch.equal(weights(run)[name], value), name
    assert RunResult.read(run).epochs == 2
    ours, theirs = (
        [[row["step"], row["train/loss"]] for row in metric_rows(each) if row["train/loss"]]
        for each in (run, whole)
    )
    assert ours == theirs
