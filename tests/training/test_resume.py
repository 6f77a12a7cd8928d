"""A run that was stopped and resumed equals one that never was, bit for bit."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from pytorch_lightning import Callback
from torch.nn import functional as F

from lightning_colorize.networks.decoders.upsample import UpsampleDecoder
from lightning_colorize.runs import folder as run_folder
from lightning_colorize.runs.folder import is_running, lock
from lightning_colorize.runs.result import RunResult

# Everything that draws or remembers: crops, flips, grey jitter, momentum, a schedule.
STATEFUL = [
    *("--data.grey_jitter", "0.5", "--data.rotation", "5"),
    *("--model.scheduler", "lightning_colorize.tasks.WarmupCosine"),
    *("--run.save_every_n_steps", "2"),
]
CASES = {
    "epochs": [],
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
    "averaged": [
        *("--trainer.callbacks", "pytorch_lightning.callbacks.EMAWeightAveraging"),
        *("--trainer.callbacks.decay", "0.9"),
    ],
    "dropout": [],
}
NOT_COMPARED = {"seconds", "images_per_second", "device_hours", "restarts", "git_commit"}
NOT_COMPARED |= {"steady_images_per_second", "data_wait_seconds", "data_wait_share"}


class Stop(Callback):
    """Sends signals to this process during a training batch, the first time it comes there."""

    batch = 0
    signals: tuple[signal.Signals, ...] = ()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.fit_loop.total_batch_idx + 1 == Stop.batch:
            Stop.batch = 0
            for number in Stop.signals:
                signal.raise_signal(number)


@pytest.fixture
def stop_in(monkeypatch):
    """Return a function that has the next run interrupted in its n-th batch."""
    from lightning_colorize.training import cli as training

    monkeypatch.setattr(training, "progress_callbacks", lambda: [Stop()])

    def set_batch(number, *signals):
        Stop.batch, Stop.signals = number, signals or (signal.SIGINT,)

    yield set_batch
    Stop.batch = 0


@pytest.fixture
def interrupts():
    """Ctrl-C means the same after the test as before."""
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def rows(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def assert_same_run(resumed, undisturbed):
    """Weights, metrics and result are equal but for times."""
    mine, theirs = weights(resumed), weights(undisturbed)
    assert mine.keys() == theirs.keys()
    assert not [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert rows(resumed) == rows(undisturbed)
    first, second = (
        {n: v for n, v in vars(RunResult.read(run)).items() if n not in NOT_COMPARED}
        for run in (resumed, undisturbed)
    )
    assert first == second


def check_all(command, stop_in, options, batches, stops=(signal.SIGINT,)):
    """Stop runs in each of these batches, resume them, compare them with one never stopped."""
    undisturbed = command.fit("undisturbed", *options)
    last = RunResult.read(undisturbed).batches
    for batch in batches or range(1, last + 1):
        stop_in(batch, *stops)
        run = command.root / "tiny" / f"stopped-{batch}"
        code = command("fit", *command.words(run.name, *options))
        if batch < last - 1:
            assert code == 128 + stops[-1]
        if code:
            assert RunResult.read(run).status == "interrupted"
            assert command("resume", run) == 0
            assert RunResult.read(run).restarts == 1
        assert_same_run(run, undisturbed)


def test_resume_is_bit_exact(command, stop_in):
    # In mid-epoch and in the last batch of an epoch.
    check_all(command, stop_in, STATEFUL, batches=[2, 3])


def test_resume_is_bit_exact_after_sigterm_with_workers(command, stop_in):
    options = [*STATEFUL, "--data.num_workers", 2]
    check_all(command, stop_in, options, batches=[4], stops=[signal.SIGTERM])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_resume_is_bit_exact_in_any_setting(command, stop_in, monkeypatch, case):
    if case == "dropout":
        forward = UpsampleDecoder.forward

        def dropping(self, features):
            return F.dropout(forward(self, features), 0.5, self.training)

        monkeypatch.setattr(UpsampleDecoder, "forward", dropping)
    check_all(command, stop_in, [*STATEFUL, *CASES[case]], batches=None)


def test_a_signal_in_the_last_batch_leaves_the_test_to_resume(command, stop_in, capsys):
    stop_in(6, signal.SIGTERM)
    assert command("fit", *command.words("late")) == 143
    run = command.root / "tiny" / "late"
    assert RunResult.read(run).status == "interrupted"
    assert "SIGTERM: writing a checkpoint after this batch" in capsys.readouterr().err
    assert command("resume", run) == 0
    assert RunResult.read(run).status == "finished"
    assert "test/psnr" in RunResult.read(run).metrics


def test_a_signal_in_the_last_batch_without_a_test_lets_the_run_finish(command, stop_in):
    stop_in(6)
    assert RunResult.read(command.fit("late", "--run.test", "false")).status == "finished"


def test_a_signal_ends_the_test(command, monkeypatch):
    from lightning_colorize.tasks import RegressionTask

    tested = []

    def test_step(self, batch, batch_idx):
        tested.append(batch_idx)
        signal.raise_signal(signal.SIGTERM)
        return self(batch.L)

    words = command.words("told", "--data.batch_size", 1, "--trainer.limit_train_batches", 2)
    with monkeypatch.context() as patched:
        patched.setattr(RegressionTask, "test_step", test_step)
        assert command("fit", *words) == 143
    assert tested == [0]
    run = command.root / "tiny" / "told"
    assert RunResult.read(run).status == "interrupted"
    assert command("resume", run) == 0
    assert "test/psnr" in RunResult.read(run).metrics


def test_a_restart_that_was_killed_before_its_checkpoint_counts(command, stop_in, monkeypatch):
    from lightning_colorize.training import cli as training

    class PowerCut(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            raise OSError("gone")

    stop_in(2)
    assert command("fit", *command.words("run", *STATEFUL)) == 130
    run = command.root / "tiny" / "run"
    with monkeypatch.context() as patch:
        # A killed process writes no result.
        patch.setattr(training.ResultWriter, "on_exception", lambda *_: None)
        patch.setattr(training, "progress_callbacks", lambda: [PowerCut()])
        with pytest.raises(OSError, match="gone"):
            command("resume", run)
    assert command("resume", run) == 0
    assert RunResult.read(run).restarts == 2


def test_a_resume_that_is_refused_changes_nothing(command, stop_in, capsys):
    stop_in(5)
    assert command("fit", *command.words("kept", *STATEFUL)) == 130
    run = command.root / "tiny" / "kept"
    before = (run / "config.yaml").read_bytes()
    assert command("resume", run, "--trainer.max_epochs", 0) == 2
    assert command("resume", run, "--data.batch_size", 3) == 2
    assert "in the midst of an epoch of batches of 4 images, not 3" in capsys.readouterr().err
    assert (run / "config.yaml").read_bytes() == before
    assert command("resume", run) == 0


def test_a_second_ctrl_c_stops_at_once(command, stop_in, interrupts, capsys):
    stop_in(2, signal.SIGINT, signal.SIGINT)
    assert command("fit", *command.words("twice")) == 130
    run = command.root / "tiny" / "twice"
    assert RunResult.read(run).status == "interrupted"
    assert RunResult.read(run).batches == 1
    assert not (run / "checkpoints/last.ckpt").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_signal_handlers_are_restored(command, stop_in):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stop_in(2)
    assert command("fit", *command.words("handlers")) == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_resume_refusals(command, finished_run, tmp_path, capsys):
    def refusal(*words):
        assert command("resume", *words) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    assert f"nothing to resume: {finished_run} is finished" in refusal(finished_run)
    assert f"{tmp_path} is not a run folder: it has no config.yaml" in refusal(tmp_path)
    (tmp_path / "config.yaml").touch()
    assert "has no checkpoints/last.ckpt; start over with fit" in refusal(tmp_path)
    assert "required: RUN" in refusal()


def test_locked_run_is_not_resumed(command, capsys, monkeypatch):
    stop_at = command.root / "tiny" / "busy"
    stop_at.mkdir(parents=True)
    monkeypatch.setattr(run_folder, "_PATIENCE", 0.1)
    with lock(stop_at):
        assert is_running(stop_at)
        assert command("fit", *command.words("busy")) == 2
    assert f"another process is writing into {stop_at} now" in capsys.readouterr().err
    assert not is_running(stop_at)
    run = command.fit("busy")
    assert not is_running(run)


def test_a_run_is_resumed_from_any_folder(command, stop_in, monkeypatch, tmp_path):
    monkeypatch.chdir(command.photos.parent)
    stop_in(2)
    words = command.words("moved", "--data.root", command.photos.name)
    assert command("fit", *words) == 130
    monkeypatch.chdir(tmp_path)
    assert command("resume", command.root / "tiny" / "moved") == 0


def test_a_finished_run_can_be_trained_longer(command):
    options = ["--model.scheduler", "torch.optim.lr_scheduler.StepLR"]
    options += ["--model.scheduler.step_size", 1]
    run = command.fit("longer", *options)
    assert command("resume", run, "--trainer.max_epochs", 3) == 0
    whole = command.fit("whole", *options, "--trainer.max_epochs", 3)
    for name, value in weights(whole).items():
        assert torch.equal(weights(run)[name], value), name
    assert RunResult.read(run).epochs == 3
    trained = [[row["step"], row["train/loss"]] for row in rows(whole) if row["train/loss"]]
    assert [[row["step"], row["train/loss"]] for row in rows(run) if row["train/loss"]] == trained


def test_a_run_that_was_killed_before_its_test_is_completed(command, monkeypatch):
    from pytorch_lightning import Trainer

    def killed(*args, **kwargs):
        raise SystemExit(137)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "test", killed)
        assert command("fit", *command.words("untested")) == 137
    run = command.root / "tiny" / "untested"
    assert RunResult.read(run).status == "interrupted"
    assert command("resume", run) == 0
    result = RunResult.read(run)
    assert result.status == "finished"
    assert "test/psnr" in result.metrics
    assert result.epochs == 2


def wait_for(condition, process, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def last_step(run):
    """The last step that metrics.csv has; -1 while there is none."""
    try:
        return max((int(row["step"]) for row in rows(run)), default=-1)
    except (FileNotFoundError, ValueError, TypeError):
        return -1


class Process:
    """The command as a process of its own, one thread, offline."""

    def __init__(self, *words):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lightning_colorize", *map(str, words)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [0, 2])
def test_resume_after_kill_is_bit_exact(command, workers):
    options = [*STATEFUL, "--data.num_workers", workers, "--trainer.max_epochs", 20]
    undisturbed = command.fit("undisturbed", *options)
    run = command.root / "tiny" / "killed"
    with Process("fit", *command.words(run.name, *options)) as process:
        wait_for(lambda: last_step(run) >= 10, process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert RunResult.read(run).status == "interrupted"
    assert RunResult.read(run).epochs < 20
    with Process("resume", run) as process:
        assert process.wait(timeout=400) == 0
    assert_same_run(run, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_from_outside_end_a_process_with_a_checkpoint(command, number, code):
    run = command.root / "tiny" / "told"
    words = command.words(run.name, *STATEFUL, "--trainer.max_epochs", 10_000)
    with Process("fit", *words) as process:
        wait_for(lambda: last_step(run) >= 5, process)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code
    assert f"{number.name}: writing a checkpoint after this batch" in err
    assert "Traceback" not in err
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == last_step(run) + 1
    assert RunResult.read(run).status == "interrupted"
