"""Bad input to `fit`: at most three lines with the key, the value and what is accepted; exit 2."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentError

from lightning_colorize.cli import main
from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.messages import explain, explained

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
QUICKSTART = str(EXPERIMENTS / "quickstart.yaml")

# A configuration without a loss.
MODEL = """\
model:
  class_path: lightning_colorize.tasks.RegressionTask
  init_args:
    encoder: {class_path: lightning_colorize.networks.ConvEncoder}
"""
L1 = "    loss: {class_path: lightning_colorize.losses.L1}\n"


@pytest.fixture
def fit(tmp_path, monkeypatch, capsys):
    """Return a function that calls `fit` with arguments that it must refuse."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def refused(*words, parts):
        code = main(["fit", *map(str, words)])
        err = capsys.readouterr().err
        lines = err.strip().splitlines()
        assert code == 2, err
        assert 1 <= len(lines) <= 3, err
        assert max(map(len, lines)) <= 330
        assert lines[0].startswith("lightning-colorize: ")
        assert "usage" not in err
        for part in parts:
            assert part in err, f"{part!r} is not in:\n{err}"

    return refused


# Each: arguments after the experiment, and parts of the message.
ON_THE_COMMAND_LINE = {
    "unknown group": ("--dta.size 3", "--dta.size", "trainer, data, run, mod", "mean data.size?"),
    "unknown key": (
        *("--run.loggers.projekt x", "--run.loggers.projekt", "wandb, project"),
        "did you mean run.loggers.project?",
    ),
    "null": ("--data.size null", "--data.size: null is not accepted", "accepted: int"),
    "binary": (
        f"--model {EXPERIMENTS.parent}/docs/photographs/cat.jpg",
        "--model names a file that",
    ),
    "wrong type": ("--data.size abc", "--data.size: 'abc'", "int"),
    "out of choices": (
        *("--trainer.precision bf17-mixed", "--trainer.precision: 'bf17-mixed'", "32-true"),
        "did you mean bf16-mixed?",
    ),
    "unknown class": (
        *("--model.encoder ResNetEncodr", "--model.encoder: 'ResNetEncodr'"),
        *("accepted: ", "ConvEncoder, MobileNetV2Encoder, ", "did you mean ResNetEncoder?"),
    ),
    "unknown task": ("--model Regression", "'Regression'", "did you mean RegressionTask?"),
    "a class of another kind": (
        "--model pytorch_lightning.demos.boring_classes.BoringModel",
        "BoringModel' is not a subclass of ColorizationTask",
        "accepted: CGANTask, GenerativeTask, RegressionTask",
    ),
    "experiment on other folders": (
        f"--config {EXPERIMENTS}/default_model.yaml --data.root . --model.encoder.frozen false",
        "train/aquarium does not exist: folders must name an existing folder; for another",
    ),
    "wrong seed": ("--seed_everything x", "--seed_everything: 'x'", "accepted: int"),
    "unknown class by its path": (
        *("--model.optimizer torch.optim.Adamm", "--model.optimizer: 'torch.optim.Adamm'"),
        *("Adam, AdamW", "did you mean Adam?"),
    ),
    "unknown module": (
        *("--model.loss no.such.Thing", "--model.loss: 'no.such.Thing'"),
        *("No module named 'no'", "Huber, L1, MSE"),
    ),
    "unknown argument of a class": (
        *("--model.init_args.encoder.init_args.widhts [8]", "--model.encoder.widhts"),
        *("widths, convs, norm", "did you mean model.encoder.widths?"),
    ),
    "argument of an argument that a class lacks": (
        *("--model.optimiser.lr 0.1", "--model.optimiser.lr: model has no 'optimiser'"),
        "did you mean model.optimizer.lr?",
    ),
    "unknown argument of a factory's class": (
        *("--model.decoder.skps true", "--model.decoder.skps", "widths, convs"),
        "did you mean model.decoder.skips?",
    ),
    "argument of a class without any": ("--model.loss.delta 1", "'delta'", "accepted: no options"),
    "class that needs more": ("--model.loss WeightedSum", "--model.loss needs losses"),
    "argument of a class that is not chosen": (
        *("--data.source.max_images 9", "--data.source", "needs a class", "FolderSource"),
    ),
    "missing fragment": (
        f"--model.loss {EXPERIMENTS}/loss/hubr.yaml",
        *("--model.loss", "hubr.yaml' does not exist", "did you mean"),
    ),
    "value for a group": ("--run fast", "--run", "fast"),
    "no value": ("--data.size", "--data.size", "expected one argument"),
    # Errors of constructors, with their own messages.
    "constructor of Lightning": ("--trainer.max_time soon", "'soon'", "DD:HH:MM:SS"),
    "TypeError of Lightning": ("--trainer.devices many", "devices", "an int > 0"),
    "the same with a strategy": ("--trainer.devices many --trainer.strategy ddp", "an int > 0"),
    "constructor of a part": ("--model.decoder.widths [8,8]", "widths", "there are 3 steps"),
}


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE)
def test_refused_on_the_command_line(fit, case):
    words, *parts = ON_THE_COMMAND_LINE[case]
    fit("--config", QUICKSTART, *words.split(), parts=parts)


# Each: content of a.yaml, and parts of the message.
IN_A_FILE = {
    "not YAML": (b"model: [unclosed\n  a: b: c\n", "line 1, column 8"),
    "not a text": (b"\xff\xd8\xff", "--config: 'a.yaml' is not a text file"),
    "unknown group": (b"dta:\n  size: 64\n", "--dta.size", "did you mean data.size?"),
    "unknown key": (
        f"data: {{sise: 64}}\n{MODEL}{L1}".encode(),
        *("--data.sise", "size, batch_size", "did you mean data.size?"),
    ),
    "unknown class": (
        (MODEL.replace("ConvEncoder", "ResNet99") + L1).encode(),
        *("--model.encoder: ", "ResNet99' cannot be imported", "no attribute 'ResNet99'"),
        "ConvEncoder, MobileNetV2Encoder",
    ),
    "missing part": (MODEL.encode(), "--model needs loss"),
}


@pytest.mark.parametrize("case", IN_A_FILE)
def test_refused_in_a_file(fit, tmp_path, case):
    text, *parts = IN_A_FILE[case]
    (tmp_path / "a.yaml").write_bytes(text)
    fit("--config=a.yaml", parts=parts)


@pytest.mark.parametrize("words", [(), ("--data.size", "64")])
def test_settings_without_a_model(fit, words):
    fit(*words, parts=["there is no model", "--config experiments/quickstart.yaml"])


def test_missing_config(fit, tmp_path):
    fit("--config", "no/my.yaml", parts=["--config: ", "my.yaml", "lightning-colorize init"])
    missing = EXPERIMENTS / "quickstat.yaml"
    fit("--config", missing, parts=["quickstat.yaml", f"did you mean {QUICKSTART}?"])
    fit("--config", tmp_path, parts=["--config: ", str(tmp_path)])


@pytest.mark.parametrize("error", [RuntimeError, TypeError])
def test_programming_errors_keep_their_traceback(error):
    with pytest.raises(error), explained():
        raise error("shapes do not fit")
    # As jsonargparse raises an error of the constructor of a class.
    with pytest.raises(ValueError, match="Does not validate") as caught, explained():
        raise ValueError("Does not validate against any of the Union subtypes") from error("a bug")
    assert not isinstance(caught.value, UsageError)


def test_unknown_messages_are_shortened():
    assert explain(ArgumentError(None, "one\n\n  two\nthree\nfour")) == "one\ntwo\nthree"
