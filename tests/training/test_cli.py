"""Run folders, settings, messages and exit codes of `fit`, on tiny runs."""

import json
import re
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning import Trainer

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import read_config
from lightning_colorize.runs.result import RunResult
from lightning_colorize.tasks import RegressionTask
from lightning_colorize.training import cli
from lightning_colorize.training.cli import complete
from lightning_colorize.training.options import RunOptions
from tests.conftest import metric_rows

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
VAL = ("psnr", "ssim", "ciede2000", "mse_ab", "colorfulness", "colorfulness_ratio", "ab_corr")


def test_metrics_are_logged_by_their_names(finished_run):
    table = metric_rows(finished_run)
    assert [row["step"] for row in table] == [str(step) for step in range(7)]
    assert all(row["train/loss"] for row in table[:6])
    assert [row["step"] for row in table if row["val/psnr"]] == ["2", "5"]
    for name in VAL:
        assert table[5][f"val/{name}"]
        assert table[6][f"test/{name}"]


def test_config_yaml_reproduces_a_run(command, finished_run):
    words = ["--config", finished_run / "config.yaml", "--run.root", command.root]
    assert command("fit", *words, "--run.name", "again") == 0
    again = command.root / "tiny" / "again"
    assert metric_rows(again) == metric_rows(finished_run)
    first, second = (read_config(run) for run in (finished_run, again))
    first["run"]["root"] = second["run"]["root"]
    assert first == second


def test_configuration_files_and_options_are_merged(command, tmp_path):
    (tmp_path / "base.yaml").write_text("data: {size: 24, rotation: 3.0}\n")
    experiment = {"data": {"rotation": 4.0}, "trainer": {"max_steps": 2}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(experiment))
    by_files = ["--data.size", "--run.experiment"]
    words = command.words("joined", "--run.test", "false", without=by_files)
    assert command("fit", "--config", tmp_path / "mine.yaml", *words) == 0
    config = read_config(command.root / "mine" / "joined")
    assert config["data"]["size"] == 24
    assert config["data"]["augmentation"]["rotation"] == 4.0
    assert config["trainer"]["max_steps"] == 2
    assert config["run"]["experiment"] == "mine"
    assert config["run"]["name"] is None


@pytest.mark.parametrize("null", ["null", "None"])  # W&B writes a sweep's null as None
def test_null_replaces_a_value_of_a_class_within_a_class(parser, null):
    words = ["--config", EXPERIMENTS / "photos_cpu.yaml"]
    for option, value in (("decoder.widths", "[9, 9, 9]"), ("encoder.weights", "w")):
        words += [f"--model.{option}", value, f"--model.{option}", null]
    model = parser.parse_args(list(map(str, words))).model.init_args
    assert model.decoder.init_args.widths is model.encoder.init_args.weights is None


def test_a_teacher_and_weights_are_found_from_any_folder(parser, tmp_path, monkeypatch):
    loss = {"class_path": "lightning_colorize.tasks.Distillation", "init_args": {"teacher": "run"}}
    model = {"loss": {"init_args": {"losses": {"a": loss, "b": deepcopy(loss)}}}}
    model["loss"]["init_args"]["losses"]["b"]["init_args"]["teacher"] = "default"
    model["encoder"] = {"init_args": {"encoder": {"init_args": {"weights": "w.pth"}}}}
    config = parser.parse_args(["--config", str(EXPERIMENTS / "quickstart.yaml")])
    config.model.init_args = Namespace(model)
    config.trainer.devices = "2"
    monkeypatch.chdir(tmp_path)
    complete(config, tmp_path, keep_precision=True)
    losses = config.model.init_args.loss["init_args"]["losses"]
    teachers = [losses[name]["init_args"]["teacher"] for name in "ab"]
    assert teachers == [str(tmp_path / "run"), "default"]
    inner = config.model.init_args.encoder["init_args"]["encoder"]
    assert inner["init_args"]["weights"] == str(tmp_path / "w.pth")
    assert config.trainer.devices == 2  # as from a file


def test_variables_that_would_be_ignored_are_named(command, capsys, monkeypatch):
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "1")
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    assert command("fit", *command.words("x", "--run.monitor", "none")) == 2
    ignored = capsys.readouterr().err.splitlines()[0]
    assert ignored == "ignored: PL_TRAINER_MAX_EPOCHS; give --trainer.KEY VALUE instead"


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
    words = ("--data", command.photos, "--split", "val", "--json", run / "again.json")
    assert command("evaluate", run, *words) == 0
    again = json.loads((run / "again.json").read_text())["metrics"]["model"]
    assert again["psnr"] == pytest.approx(result.metrics["val/psnr"], rel=1e-5)


@pytest.mark.parametrize(("precision", "atol"), [("bf16-true", 2.0), ("64-true", 0.01)])
def test_metrics_are_fp32_in_any_precision(command, finished_run, precision, atol):
    run = command.fit(precision, "--trainer.precision", precision)
    expected = RunResult.read(finished_run)
    measured = RunResult.read(run)
    assert measured.baselines == expected.baselines
    assert measured.metrics["test/psnr"] == pytest.approx(expected.metrics["test/psnr"], abs=atol)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": 0}, "--run.smoothing: 0\naccepted: 1 or more"),
        ({"patience": -1}, "--run.patience: -1\naccepted: 1 or more"),
        ({"save_every_n_minutes": 0.0}, "--run.save_every_n_minutes is 0.0: it must be above 0"),
        ({"monitor": None, "patience": 3}, "--run.patience: 3\naccepted: null if"),
        ({"name": "a/b"}, "--run.name: 'a/b'"),
        ({"name": "a\nb"}, r"--run.name: 'a\nb'"),
        ({"name": "x" * 300}, "at most 255 bytes"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        RunOptions(**options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.root", "/nowhere"], "/nowhere"),
        (["--run.predict_dir", "/nowhere"], "/nowhere"),
        (["--run.monitor", "val/pnsr"], "val/psnr"),
        (["--run.monitor", "val/colorfulness"], "--run.mode: null\naccepted: max, min for"),
        (["--run.root", __file__], "give another --run.root"),
        (["--run.name", "x" * 256], "at most 255 bytes"),
    ],
)
def test_wrong_use_creates_no_run_folder(command, capsys, words, message):
    assert command("fit", *command.words("wrong", *words)) == 2
    assert message in capsys.readouterr().err.lower()
    assert not list(command.root.glob("*/*"))


def test_a_run_refused_for_unreadable_images_leaves_only_their_list(command, tmp_path):
    shutil.copytree(command.photos, tmp_path / "photos")
    for name in ("000.png", "001.jpg"):
        (tmp_path / "photos/train" / name).write_text("no image")
    words = ("--data.root", tmp_path / "photos", "--run.loggers.wandb", "offline")
    assert command("fit", *command.words("x", *words)) == 2
    assert [path.name for path in (command.root / "tiny/x").glob("[!.]*")] == ["broken.txt"]


@pytest.fixture
def failing_step(command, capsys, monkeypatch):
    """Return a function that raises an error in the first step; it returns the line printed."""

    def fail(error, processes=1):
        def training_step(self, batch, batch_idx):
            monkeypatch.setattr(Trainer, "world_size", processes)
            raise error

        monkeypatch.setattr(RegressionTask, "training_step", training_step)
        code = command("fit", *command.words("failing"))
        assert code == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert RunResult.read(command.root / "tiny/failing").status == "failed"
        return line

    return fail


def test_out_of_memory_suggests_a_smaller_batch(failing_step):
    assert failing_step(MemoryError()).endswith("at batch size 4: try --data.batch_size 2")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[a/gloo/transport/pair.cc:545] Connection reset by peer"),
        torch.distributed.DistBackendError("NCCL: remote process exited"),
    ],
)
def test_lost_process_is_one_line_with_the_resume_command(command, failing_step, error):
    line = failing_step(error, processes=2)
    assert f"ended or is unreachable ({error})" in line
    assert f"lightning-colorize resume {command.root / 'tiny' / 'failing'}" in line


def test_wrong_use_found_at_work_is_a_failure(failing_step):
    assert failing_step(UsageError("no images")) == "lightning-colorize: no images"


def test_settings_of_stock_callbacks(command, error_of):
    key = "--trainer.callbacks"
    run = command.fit("timed", f"{key}=Timer", f"{key}.duration=00:00:10:00")
    assert command("resume", run, "--trainer.max_epochs", 3) == 0
    (timer,) = read_config(run)["trainer"]["callbacks"]
    assert timer["init_args"]["interval"] == "step"
    words = (f"{key}=EarlyStopping", f"{key}.monitor=val/pnsr")
    assert "metric `val/pnsr`" in error_of("fit", *command.words("early", *words), code=1)


def test_other_errors_keep_their_traceback(failing_step, command):
    with pytest.raises(RuntimeError, match="a bug"):
        failing_step(RuntimeError("a bug"))
    assert RunResult.read(command.root / "tiny/failing").status == "failed"


@pytest.mark.parametrize("option", ["--trainer.logger", "--trainer.logger+"])
def test_other_loggers_are_added_to_those_of_the_run(command, capsys, tmp_path, option):
    words = (f"{option}=CSVLogger", f"--trainer.logger.save_dir={tmp_path}")
    run = command.fit("added", *words, "--trainer.max_epochs", 1)
    assert metric_rows(run)
    assert list(tmp_path.glob("lightning_logs/*/metrics.csv"))
    assert "CSV, TensorBoard, CSVLogger\n" in capsys.readouterr().out


def test_run_without_loggers_and_terminal(command, capsys):
    run = command.fit("silent", "--trainer.logger", "false", "--trainer.max_epochs", 1)
    assert (run / "result.json").is_file()
    assert not (run / "metrics.csv").exists()
    out = capsys.readouterr().out
    assert out.startswith("device ")
    assert "epoch 1, validated: train/loss 0." in out
    assert not {"\r", "\x1b"} & set(out)


def test_resume_needs_no_pretrained_weights(command, tmp_path):
    from torchvision.models import mobilenet_v2

    weights = tmp_path / "weights.pth"
    torch.save(mobilenet_v2(weights=None).state_dict(), weights)
    words = command.words(
        *("moved", "--trainer.max_epochs", 1),
        *("--model.encoder", "lightning_colorize.networks.MobileNetV2Encoder"),
        *("--model.encoder.levels", "2", "--model.encoder.weights", weights),
        without=["--model.encoder", "--model.encoder.widths"],
    )
    assert command("fit", *words) == 0
    weights.unlink()
    run = command.root / "tiny" / "moved"
    assert command("resume", run, "--trainer.max_epochs", 2) == 0
    assert RunResult.read(run).restarts == 1


def test_emulated_bf16_yields_to_fp32(command, monkeypatch, tmp_path, capsys):
    (tmp_path / "own.yaml").write_text("trainer: {precision: bf16-mixed}")
    words = ("--config", tmp_path / "own.yaml", "--trainer.max_epochs", 1)
    for flags, precision in (("avx512_bf16", "bf16-mixed"), ("avx2 fma", "32-true")):
        (tmp_path / "cpu").write_text(f"flags : {flags}\n")
        monkeypatch.setattr(cli, "_CPU", tmp_path / "cpu")
        run = command.fit(precision, *words)
        assert read_config(run)["trainer"]["precision"] == precision
        yields = "precision 32-true: this CPU emulates bf16-mixed" in capsys.readouterr().out
        assert yields == (precision == "32-true")
    run = command.fit("kept", *words, "--trainer.precision", "bf16-mixed")
    assert read_config(run)["trainer"]["precision"] == "bf16-mixed"
    assert "emulates" not in capsys.readouterr().out
