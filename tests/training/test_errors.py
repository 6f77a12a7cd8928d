"""Bad input to `fit` is exit code 2 and a short message that names the key."""

import logging
from pathlib import Path

import pytest

from lightning_colorize.cli import main
from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.session import quiet, usage_errors

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
MODEL = b"""\
model:
  class_path: lightning_colorize.tasks.RegressionTask
  init_args:
    encoder: {class_path: lightning_colorize.networks.ConvEncoder}
"""

# Arguments after the experiment, and a part of the message.
ON_THE_COMMAND_LINE = [
    ("--dta.size 3", "--dta.size"),
    ("--data.size null", "\"data.size\": Expected a <class 'int'>"),
    ("--trainer.precision bf17-mixed", "'bf16-mixed'"),
    ("--model.encoder ResNetEncodr", "ResNetEncodr"),
    ("--model pytorch_lightning.demos.boring_classes.BoringModel", "subclass of ColorizationTask"),
    ("--model.optimizer torch.optim.Adamm", "has no attribute 'Adamm'"),
    ("--model.encoder.widhts [8]", "Option 'widhts' is not accepted"),
    ("--model.optimiser.lr 0.1", "optimiser.lr"),
    ("--model.loss WeightedSum", "arguments are required: losses"),
    ("--model.loss experiments/loss/hubr.yaml", "hubr.yaml"),
]
# Constructors, of Lightning and ours.
WHEN_BUILT = [
    ("--trainer.max_time soon", "DD:HH:MM:SS"),
    ("--trainer.devices many", "devices"),
    ("--model.decoder.widths [8,8]", "there are 3 steps"),
    ("--trainer.gradient_clip_val -1", "gradient_clip_val is -1"),
    ("--trainer.log_every_n_steps 0", "--trainer.log_every_n_steps is 0: it must be at least 1"),
    ("--trainer.accumulate_grad_batches 0", "accumulate_grad_batches is 0"),
    ("--trainer.check_val_every_n_epoch 0", "check_val_every_n_epoch is 0"),
    # When the Trainer is set up.
    ("--model.optimizer.lr=-0.01", "Invalid learning rate: -0.01"),
    ("--model.optimizer.betas [0.9,1.5] --trainer.fast_dev_run 1", "Invalid beta parameter"),
    ("--model.scheduler WarmupCosine --model.scheduler.warmup 2", "warmup is 2.0: it must be from"),
    ("--trainer.val_check_interval 0", "val_check_interval is 0: it must be above 0"),
    ("--trainer.val_check_interval 1000", "`val_check_interval` (1000) must be less than"),
]
IN_A_FILE = [
    (b"model: [unclosed\n  a: b: c\n", "line 1, column 8"),
    (b"dta:\n  size: 64\n", "dta.size"),
    (MODEL.replace(b"ConvEncoder", b"ResNet99"), "has no attribute 'ResNet99'"),
    (MODEL, "arguments are required: loss"),
    (MODEL + b"data: {size: 32, size: 64}\n", "`size` appears twice; keep one"),
]


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Return a function that calls `fit` with arguments that it must refuse."""
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def call(words, part):
        assert main(["fit", "--run.root", str(tmp_path / "runs"), *words]) == 2
        err = capsys.readouterr().err
        assert part in err
        assert err.startswith("lightning-colorize: ")
        assert err.count("\n") <= 2
        assert len(err) < 800
        assert not list(tmp_path.glob("runs/*/*"))

    return call


@pytest.mark.parametrize(("words", "part"), ON_THE_COMMAND_LINE)
def test_refused_on_the_command_line(parser, words, part):
    words = ["--config", str(EXPERIMENTS / "quickstart.yaml"), *words.split()]
    with pytest.raises(UsageError) as caught, usage_errors():
        parser.parse_args(words)
    assert part in str(caught.value)


@pytest.mark.parametrize(("text", "part"), IN_A_FILE)
def test_refused_in_a_file(parser, tmp_path, text, part):
    (tmp_path / "a.yaml").write_bytes(text)
    with pytest.raises(UsageError) as caught, usage_errors():
        parser.parse_args([f"--config={tmp_path}/a.yaml"])
    assert part in str(caught.value)


@pytest.mark.parametrize(("words", "part"), [ON_THE_COMMAND_LINE[0], *WHEN_BUILT])
def test_refused_by_the_command(refused, words, part):
    refused(["--config", str(EXPERIMENTS / "quickstart.yaml"), *words.split()], part)


def test_the_death_of_another_process_is_logged(caplog):
    quiet()
    logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script").info("died")
    assert caplog.messages == ["died"]


NO_CONFIGURATIONS = {
    "# none\n": "c.yaml: not a mapping; it has keys such as `model:`",
    "data:\nrun: {}\n": "c.yaml: data: not a mapping; give it keys",
    "a: &a [*a]\n": "c.yaml: is not YAML",
    "model: [\n": "c.yaml: line 2: ",
}


def test_a_configuration_that_is_none_is_named(refused, tmp_path):
    for text, part in NO_CONFIGURATIONS.items():
        (tmp_path / "c.yaml").write_text(text)
        refused(["--config", str(tmp_path / "c.yaml")], part)


def test_missing_config(refused):
    refused(["--data.size", "64", "--config"], "expected one argument")
    refused(["--config", "no/my.yaml"], "my.yaml")
    refused(["--data.size", "64"], "--config experiments/quickstart.yaml")


@pytest.mark.parametrize("error", [RuntimeError, TypeError])
def test_programming_errors_keep_their_traceback(error):
    with pytest.raises(error), usage_errors():
        raise error("shapes do not fit")
    # As jsonargparse raises an error of the constructor of a class.
    with pytest.raises(ValueError, match="Does not validate") as caught, usage_errors():
        raise ValueError("Does not validate against any of the Union subtypes") from error("a bug")
    assert not isinstance(caught.value, UsageError)
