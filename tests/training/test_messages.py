"""Bad input to `fit`: at most three lines with the key, the value and what is accepted; exit 2."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentError

from lightning_colorize.cli import main
from lightning_colorize.training.messages import explain, is_bad_input

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
QUICKSTART = str(EXPERIMENTS / "quickstart.yaml")
LOSSES = EXPERIMENTS / "loss"

MODEL = """\
model:
  class_path: lightning_colorize.tasks.RegressionTask
  init_args:
    encoder:
      class_path: lightning_colorize.networks.{encoder}
      init_args: {arguments}
    loss:
      class_path: lightning_colorize.losses.L1
"""


@pytest.fixture
def fit(tmp_path, monkeypatch, capsys):
    """Run `fit` with arguments that it must refuse; return its message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def refused(*words):
        code = main(["fit", *map(str, words)])
        printed = capsys.readouterr()
        lines = printed.err.strip().splitlines()
        assert code == 2, printed.err
        assert 1 <= len(lines) <= 3, printed.err
        assert max(map(len, lines)) <= 330
        assert lines[0].startswith("lightning-colorize: ")
        assert "usage" not in printed.err
        assert "Traceback" not in printed.err
        return printed.err

    return refused


def assert_in(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is not in:\n{text}"


# Each: arguments after the experiment, and parts of the message.
ON_THE_COMMAND_LINE = {
    "unknown group": (
        ["--dta.size", "3"],
        ["--dta.size", "trainer, data, run, model", "did you mean data.size?"],
    ),
    "unknown key": (
        ["--run.loggers.projekt", "x"],
        ["--run.loggers.projekt", "wandb, project", "did you mean run.loggers.project?"],
    ),
    "wrong type": (["--data.size", "abc"], ["--data.size", "'abc'", "int"]),
    "out of choices": (
        ["--trainer.precision", "bf17-mixed"],
        ["--trainer.precision", "'bf17-mixed'", "32-true", "did you mean bf16-mixed?"],
    ),
    "unknown class": (
        ["--model.encoder", "ResNetEncodr"],
        [
            "--model.encoder: 'ResNetEncodr'",
            "accepted: ",
            "ConvEncoder, MobileNetV2Encoder, ",
            "did you mean ResNetEncoder?",
        ],
    ),
    "unknown task": (["--model", "Regression"], ["'Regression'", "did you mean RegressionTask?"]),
    "wrong seed": (["--seed_everything", "x"], ["--seed_everything: 'x'", "accepted: int"]),
    "unknown class by its path": (
        ["--model.optimizer", "torch.optim.Adamm"],
        ["--model.optimizer", "'torch.optim.Adamm'", "Adam, AdamW", "did you mean Adam?"],
    ),
    "unknown module": (
        ["--model.loss", "no.such.Thing"],
        ["--model.loss", "'no.such.Thing'", "No module named 'no'", "Huber, L1, MSE"],
    ),
    "unknown class of a module": (
        ["--model.encoder", "torch.optim.Encoder"],
        ["--model.encoder: 'torch.optim.Encoder' cannot be imported", "no attribute 'Encoder'"],
    ),
    "unknown argument of a class": (
        ["--model.init_args.encoder.init_args.widhts", "[8]"],
        ["--model.encoder.widhts", "widths, convs, norm", "did you mean model.encoder.widths?"],
    ),
    "argument of an argument that a class lacks": (
        ["--model.optimiser.lr", "0.1"],
        ["--model.optimiser.lr: model has no 'optimiser'", "did you mean model.optimizer.lr?"],
    ),
    "unknown argument of a factory's class": (
        ["--model.decoder.skps", "true"],
        ["--model.decoder.skps", "widths, convs", "did you mean model.decoder.skips?"],
    ),
    "argument of a class without any": (
        ["--model.loss.delta", "1"],
        ["--model.loss.delta", "'delta'", "accepted: no options"],
    ),
    "class that needs more": (
        ["--model.loss", "WeightedSum"],
        ["--model.loss needs losses"],
    ),
    "argument of a class that is not chosen": (
        ["--data.source.max_images", "9"],
        ["--data.source", "needs a class", "FolderSource"],
    ),
    "missing fragment": (
        ["--model.loss", LOSSES / "hubr.yaml"],
        ["--model.loss", "hubr.yaml' does not exist", "did you mean"],
    ),
    "value for a group": (["--run", "fast"], ["--run", "fast"]),
    "no value": (["--data.size"], ["--data.size", "expected one argument"]),
    "old name": (["--run.go_on", "true"], ["--run.go_on", "use --run.auto_resume"]),
    "old metric": (["--run.monitor", "val/hue_r"], ["--run.monitor", "use val/ab_corr"]),
    # Errors of constructors, with their own messages.
    "constructor of Lightning": (["--trainer.max_time", "soon"], ["'soon'", "DD:HH:MM:SS"]),
    "TypeError of Lightning": (["--trainer.devices", "many"], ["devices", "an int > 0"]),
    "constructor of a part": (["--model.decoder.widths", "[8,8]"], ["widths", "there are 3 steps"]),
}


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE)
def test_refused_on_the_command_line(fit, case):
    words, parts = ON_THE_COMMAND_LINE[case]
    assert_in(fit("--config", QUICKSTART, *words), *parts)


@pytest.mark.parametrize("words", [(), ("--data.size", "64")])
def test_settings_without_a_model(fit, words):
    assert_in(fit(*words), "there is no model", "--config experiments/quickstart.yaml")


def test_missing_config(fit, tmp_path):
    assert_in(
        fit("--config", "nowhere/my.yaml"), "--config: ", "my.yaml", "lightning-colorize init"
    )
    missing = EXPERIMENTS / "quickstat.yaml"
    assert_in(fit("--config", missing), "quickstat.yaml", f"did you mean {QUICKSTART}?")
    assert_in(fit("--config", tmp_path), "--config: ", str(tmp_path))
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    assert_in(fit("--config", QUICKSTART, "--config=a.jpg"), "--config: 'a.jpg' is not a text file")


# Each: content of my.yaml, and parts of the message.
IN_A_FILE = {
    "not YAML": ("model: [unclosed\n  a: b: c\n", ["line 1, column 8"]),
    "unknown group": ("dta:\n  size: 64\n", ["--dta.size", "did you mean data.size?"]),
    "unknown key": (
        "data:\n  sise: 64\n" + MODEL.format(encoder="ConvEncoder", arguments="{}"),
        ["--data.sise", "size, batch_size", "did you mean data.size?"],
    ),
    "unknown class": (
        MODEL.format(encoder="ResNet99", arguments="{}"),
        ["--model.encoder", "ResNet99'", "ConvEncoder, MobileNetV2Encoder"],
    ),
    "missing part": (
        MODEL.format(encoder="ConvEncoder", arguments="{}").split("    loss")[0],
        ["--model needs loss"],
    ),
}


@pytest.mark.parametrize("case", IN_A_FILE)
def test_refused_in_a_file(fit, tmp_path, case):
    text, parts = IN_A_FILE[case]
    (tmp_path / "my.yaml").write_text(text)
    assert_in(fit("--config", "my.yaml"), *parts)


def test_programming_errors_keep_their_traceback():
    assert is_bad_input(ValueError("levels is 9"))
    assert not is_bad_input(RuntimeError("shapes do not fit"))
    with pytest.raises(TypeError) as caught:
        len(5)
    assert not is_bad_input(caught.value)


def test_unknown_messages_are_shortened():
    assert explain(ArgumentError(None, "one\n\n  two\nthree\nfour")) == "one\ntwo\nthree"
