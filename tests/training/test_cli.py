"""Run folders, settings, messages and exit codes of `fit`, on tiny runs."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from lightning_colorize.runs.folder import read_config
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training.cli import base_config, config_path
from lightning_colorize.training.devices import default_precision, several_processes
from tests.conftest import metric_rows

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
VAL = ("psnr", "ssim", "ciede2000", "mse_ab", "colorfulness", "colorfulness_ratio", "ab_corr")


def test_files_of_a_run(finished_run):
    checkpoints = {path.name for path in (finished_run / "checkpoints").iterdir()}
    assert checkpoints == {"best.ckpt", "last.ckpt"}
    assert list(finished_run.glob("tensorboard/events*"))
    assert not list(finished_run.rglob("*.tmp"))


def test_metrics_are_logged_by_their_names(finished_run):
    table = metric_rows(finished_run)
    assert [row["step"] for row in table] == [str(step) for step in range(7)]
    assert all(row["train/loss"] for row in table[:6])
    assert [row["step"] for row in table if row["val/psnr"]] == ["2", "5"]
    for name in VAL:
        assert table[5][f"val/{name}"]
        assert table[6][f"test/{name}"]


def test_checkpoints_load_safely_and_hold_the_scale(finished_run):
    for name in ("best", "last"):
        checkpoint = torch.load(finished_run / f"checkpoints/{name}.ckpt", weights_only=True)
        assert checkpoint["state_dict"]["scaling.ab_scale"] == 110
    assert checkpoint["global_step"] == 6


def test_config_yaml_reproduces_a_run(command, finished_run):
    words = ["--config", finished_run / "config.yaml", "--run.root", command.root]
    assert command("fit", *words, "--run.name", "again") == 0
    again = command.root / "tiny" / "again"
    assert metric_rows(again) == metric_rows(finished_run)
    first, second = (read_config(run) for run in (finished_run, again))
    first["run"]["root"] = second["run"]["root"]
    assert first == second


def test_seed_changes_a_run(command, finished_run):
    other = command.fit("other", "--seed_everything", 1)
    assert metric_rows(other)[0]["train/loss"] != metric_rows(finished_run)[0]["train/loss"]


def test_runs_are_not_overwritten(command, capsys):
    run = command.fit("mine", "--trainer.max_epochs", 1, "--run.test", "false")
    before = (run / "metrics.csv").read_bytes()
    capsys.readouterr()
    assert command("fit", *command.words("mine")) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{run} holds a run already" in err
    assert f"lightning-colorize resume {run}" in err
    assert (run / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config", "experiments/a.yaml", "--config", "b.yaml"], "experiments/a.yaml"),
        (["--data.size", "3", "--config=x/y.yaml"], "x/y.yaml"),
        (["-c", "z.yaml"], "z.yaml"),
        (["--data.size", "3"], None),
    ],
)
def test_first_configuration_names_the_experiment(words, expected):
    path = config_path(words)
    assert (None if path is None else str(path)) == expected


def test_experiment_uses_base_yaml_beside_it(tmp_path):
    (tmp_path / "mine.yaml").touch()
    assert base_config(["--config", str(tmp_path / "mine.yaml")]).parent.name == "experiments"
    (tmp_path / "base.yaml").touch()
    assert base_config(["--config", str(tmp_path / "mine.yaml")]) == tmp_path / "base.yaml"


def test_configuration_files_and_options_are_merged(command, tmp_path):
    (tmp_path / "base.yaml").write_text("data: {size: 24, rotation: 3.0}\n")
    experiment = {"data": {"rotation": 4.0}, "trainer": {"max_steps": 2}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(experiment))
    words = command.words("joined", "--run.test", "false")
    for name in ("--data.size", "--run.experiment"):  # set by the files
        at = words.index(name)
        del words[at : at + 2]
    assert command("fit", "--config", tmp_path / "mine.yaml", *words) == 0
    config = read_config(command.root / "mine" / "joined")
    assert config["data"]["size"] == 24
    assert config["data"]["rotation"] == 4.0
    assert config["trainer"]["max_steps"] == 2
    assert config["run"]["experiment"] == "mine"
    assert config["run"]["name"] is None


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("decoder", "widths", "[9, 9, 9]"),
        ("encoder", "weights", "w"),
        ("encoder", "norm_eval", "true"),
    ],
)
@pytest.mark.parametrize("null", ["null", "None"])  # W&B writes a sweep's null as None
def test_null_replaces_a_value_of_a_class_within_a_class(command, capsys, part, name, value, null):
    option = f"--model.{part}.{name}"
    words = ["--config", EXPERIMENTS / "photos_cpu.yaml", option, value, option, null]
    assert command("fit", *words, "--print_config") == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["init_args"][part]["init_args"][name] is None


def test_averaged_weights_are_validated_saved_and_tested(command):
    run = command.fit(
        "ema",
        *("--trainer.callbacks", "pytorch_lightning.callbacks.EMAWeightAveraging"),
        *("--trainer.callbacks.decay", 0.5, "--trainer.max_epochs", 1),
        *("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", 0.1),
    )
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    name = "net.head.conv.weight"
    averaged, current = checkpoint["state_dict"][name], checkpoint["current_model_state"][name]
    assert not torch.equal(averaged, current)
    # The saved weights reproduce the logged metrics.
    result = RunResult.read(run)
    plain = command.fit(
        *("plain", "--trainer.max_epochs", 1),
        *("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", 0.1),
    )
    assert RunResult.read(plain).metrics["val/psnr"] != result.metrics["val/psnr"]
    last = torch.load(plain / "checkpoints/last.ckpt", weights_only=True)
    assert torch.equal(last["state_dict"][name], current)
    words = ("--data", command.photos, "--split", "val", "--json", run / "again.json")
    assert command("evaluate", run, *words) == 0
    again = json.loads((run / "again.json").read_text())["metrics"]["model"]
    assert again["psnr"] == pytest.approx(result.metrics["val/psnr"], rel=1e-5)


def test_fast_dev_run_writes_nothing(command):
    words = command.words("dry", "--trainer.fast_dev_run", "true")
    assert command("fit", *words) == 0
    assert not (command.root / "tiny" / "dry").exists()


@pytest.mark.parametrize(("precision", "atol"), [("bf16-true", 2.0), ("64-true", 0.01)])
def test_metrics_are_fp32_in_any_precision(command, finished_run, precision, atol):
    run = command.fit(precision, "--trainer.precision", precision)
    expected = RunResult.read(finished_run)
    measured = RunResult.read(run)
    assert measured.baselines == expected.baselines
    assert measured.metrics["test/psnr"] == pytest.approx(expected.metrics["test/psnr"], abs=atol)


@pytest.mark.parametrize(
    ("accelerator", "cuda", "bf16", "precision"),
    [
        ("auto", True, True, "bf16-mixed"),
        ("gpu", True, True, "bf16-mixed"),
        ("cpu", True, True, "32-true"),
        ("auto", True, False, "32-true"),
        ("auto", False, False, "32-true"),
    ],
)
def test_default_precision(monkeypatch, accelerator, cuda, bf16, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert default_precision(accelerator) == precision


@pytest.mark.parametrize(
    ("devices", "gpus", "several"),
    [
        (1, 8, False),
        (2, 0, True),
        ("auto", 8, True),
        ("auto", 1, False),
        (-1, 2, True),
        ([0], 8, False),
        ([0, 3], 8, True),
        ("3", 8, True),
        ("1", 8, False),
        ("3,", 8, False),
        ("0, 3", 8, True),
    ],
)
def test_number_of_processes(monkeypatch, devices, gpus, several):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert several_processes("auto", devices, 1) == several
    assert several_processes("auto", devices, 2)
    if devices == "auto":
        assert not several_processes("cpu", devices, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run.patience", -1], "--run.patience: -1"),
        (["--run.name", "a/b"], "--run.name: 'a/b'"),
        (["--run.name", "a\nb"], r"--run.name: 'a\nb'"),
        (["--run.name", "x" * 300], "at most 255 bytes"),
        (["--data.root", "/nowhere"], "/nowhere"),
        (["--run.predict_dir", "/nowhere"], "/nowhere"),
        (["--run.monitor", "val/pnsr"], "val/psnr"),
        (["--run.mode", "min"], "--run.mode: min\naccepted: max for --run.monitor val/psnr"),
        (["--run.monitor", "val/colorfulness"], "--run.mode: null\naccepted: max, min for"),
        (["--run.root", __file__], "give another --run.root"),
    ],
)
def test_wrong_use_creates_no_run_folder(command, capsys, words, message):
    assert command("fit", *command.words("wrong", *words)) == 2
    assert message in capsys.readouterr().err.lower()
    assert not list(command.root.glob("*/*"))


def test_concurrent_run_is_not_overwritten(command, monkeypatch, capsys):
    from contextlib import contextmanager

    from lightning_colorize.training import session

    @contextmanager
    def lock_late(folder):
        (folder / "config.yaml").write_text("of another run")
        yield

    monkeypatch.setattr(session, "lock", lock_late)
    assert command("fit", *command.words("same")) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (command.root / "tiny/same/config.yaml").read_text() == "of another run"


def test_progress_without_a_terminal_is_plain_lines(command, capsys):
    command.fit("lines", "--trainer.max_epochs", 1)
    out = capsys.readouterr().out
    assert out.startswith("device ")
    assert "epoch 1, validated: train/loss 0." in out
    assert "\r" not in out
    assert "\x1b[" not in out


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_suggests_a_smaller_batch(command, capsys, monkeypatch, error):
    from lightning_colorize.tasks import RegressionTask

    def training_step(self, batch, batch_idx):
        raise error

    monkeypatch.setattr(RegressionTask, "training_step", training_step)
    assert command("fit", *command.words("oom")) == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert err[-1] == (
        "lightning-colorize fit: out of memory at batch size 4: try --data.batch_size 2"
    )
    assert "Traceback" not in "".join(err)
    assert RunResult.read(command.root / "tiny" / "oom").status == "failed"


@pytest.mark.parametrize(
    "error",
    ["[a/gloo/transport/pair.cc:545] Connection reset by peer", "NCCL: remote process exited"],
)
def test_lost_process_is_one_line_with_the_resume_command(command, capsys, monkeypatch, error):
    from pytorch_lightning import Trainer

    from lightning_colorize.tasks import RegressionTask

    def training_step(self, batch, batch_idx):
        monkeypatch.setattr(Trainer, "world_size", 2)
        raise RuntimeError(error)

    monkeypatch.setattr(RegressionTask, "training_step", training_step)
    assert command("fit", *command.words("lost")) == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert f"ended or is unreachable ({error})" in err[-1]
    assert f"lightning-colorize resume {command.root / 'tiny' / 'lost'}" in err[-1]
    assert "Traceback" not in "".join(err)


def test_other_errors_keep_their_traceback(command, monkeypatch):
    from lightning_colorize.tasks import RegressionTask

    def training_step(self, batch, batch_idx):
        raise RuntimeError("a bug")

    monkeypatch.setattr(RegressionTask, "training_step", training_step)
    with pytest.raises(RuntimeError, match="a bug"):
        command("fit", *command.words("bug"))
    assert RunResult.read(command.root / "tiny" / "bug").status == "failed"


def test_run_without_loggers_writes_its_result(command):
    run = command.fit("silent", "--trainer.logger", "false", "--trainer.max_epochs", 1)
    assert (run / "result.json").is_file()
    assert not (run / "metrics.csv").exists()


def test_resume_needs_no_pretrained_weights(command, tmp_path):
    from torchvision.models import mobilenet_v2

    weights = tmp_path / "weights.pth"
    torch.save(mobilenet_v2(weights=None).state_dict(), weights)
    words = command.words("moved", "--trainer.max_epochs", 1)
    at = words.index("--model.encoder")
    words[at : at + 4] = [
        *("--model.encoder", "lightning_colorize.networks.MobileNetV2Encoder"),
        *("--model.encoder.levels", "2", "--model.encoder.weights", str(weights)),
    ]
    assert command("fit", *words) == 0
    weights.unlink()
    run = command.root / "tiny" / "moved"
    assert command("resume", run, "--trainer.max_epochs", 2) == 0
    assert RunResult.read(run).restarts == 1


def test_last_epoch_is_always_validated(command):
    run = command.fit("seldom", "--trainer.max_epochs", 3, "--trainer.check_val_every_n_epoch", 2)
    validated = [row["epoch"] for row in metric_rows(run) if row.get("val/psnr")]
    assert validated == ["1", "2"]
