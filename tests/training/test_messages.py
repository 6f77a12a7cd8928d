"""Bad input to `fit`: at most three lines with the key, the value and what is accepted; exit 2."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentError
from pytorch_lightning import Trainer

from lightning_colorize.cli import main
from lightning_colorize.training.messages import explain, given, is_bad_input

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
    """Run `fit` with words that it must refuse; return the lines it says."""
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


def says(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is not in:\n{text}"


# Each: words after the experiment, and what must be said.
ON_THE_COMMAND_LINE = {
    "unknown group": (
        ["--dta.size", "3"],
        ["--dta.size", "'3'", "trainer, data, run, model", "did you mean data.size?"],
    ),
    "unknown nested key": (
        ["--data.sise", "64"],
        ["--data.sise", "'64'", "size, batch_size", "did you mean data.size?"],
    ),
    "unknown key of the Trainer": (
        ["--trainer.max_epoks=9"],
        ["--trainer.max_epoks", "'9'", "did you mean trainer.max_epochs?"],
    ),
    "unknown key two groups down": (
        ["--run.loggers.projekt", "x"],
        ["--run.loggers.projekt", "'x'", "wandb, project", "did you mean run.loggers.project?"],
    ),
    "wrong type": (["--data.size", "abc"], ["--data.size", "'abc'", "an integer"]),
    "wrong type in a list": (
        ["--model.encoder.widths", "[8,x]"],
        ["--model.encoder.widths", "[8,x]", "list[int], null"],
    ),
    "wrong length": (
        ["--data.crop_scale", "[1,2,3]"],
        ["--data.crop_scale", "[1,2,3]", "tuple[float, float], null"],
    ),
    "neither true nor false": (
        ["--model.channels_last", "perhaps"],
        ["--model.channels_last", "'perhaps'", "true, false"],
    ),
    "out of choices": (["--run.mode", "up"], ["--run.mode", "'up'", "max, min"]),
    "out of choices, nearly right": (
        ["--model.encoder.norm", "btch"],
        ["--model.encoder.norm", "batch, instance, group, none", "did you mean batch?"],
    ),
    "invalid precision": (
        ["--trainer.precision", "bf17-mixed"],
        ["--trainer.precision", "'bf17-mixed'", "32-true", "did you mean bf16-mixed?"],
    ),
    "unknown class": (
        ["--model.encoder", "ResNetEncodr"],
        [
            "--model.encoder",
            "'ResNetEncodr' is not accepted",
            "accepted: ConvEncoder, MobileNetV2Encoder, ResNetEncoder, TimmEncoder, ",
            "did you mean ResNetEncoder?",
        ],
    ),
    "unknown decoder": (
        ["--model.decoder", "Nope"],
        ["--model.decoder", "'Nope'", "accepted: DeconvDecoder, PixelShuffleDecoder, "],
    ),
    "unknown task": (["--model", "NopeTask"], ["--model", "'NopeTask'", "RegressionTask"]),
    "unknown source": (
        ["--data.source", "FolderSorce"],
        ["--data.source", "'FolderSorce'", "ManifestSource", "did you mean FolderSource?"],
    ),
    "class of another kind": (
        ["--model.loss", "lightning_colorize.networks.ConvEncoder"],
        ["--model.loss", "ConvEncoder' is not accepted", "Huber, L1, MSE, WeightedSum"],
    ),
    "unknown module": (
        ["--model.loss", "no.such.Thing"],
        ["--model.loss", "'no.such.Thing'", "Huber, L1, MSE, WeightedSum"],
    ),
    "unknown argument of a class": (
        ["--model.encoder", "ResNetEncoder", "--model.encoder.depht", "34"],
        [
            "--model.encoder.depht",
            "model.encoder has no 'depht'",
            "'34'",
            "depth, levels, normalization, pretrained, weights, frozen, norm_eval",
            "did you mean model.encoder.depth?",
        ],
    ),
    "unknown argument, written in full": (
        ["--model.init_args.encoder.init_args.widhts", "[8]"],
        ["--model.encoder.widhts", "'[8]'", "widths, convs, norm"],
    ),
    "argument of an argument that a class lacks": (
        ["--model.optimiser.lr", "0.1"],
        ["--model.optimiser.lr: model has no 'optimiser'", "did you mean model.optimizer.lr?"],
    ),
    "unknown argument of what a factory makes": (
        ["--model.decoder.skps", "true"],
        ["--model.decoder.skps", "'true'", "widths, convs", "did you mean model.decoder.skips?"],
    ),
    "argument of a class without any": (
        ["--model.loss.delta", "1"],
        ["--model.loss.delta", "'delta'", "accepted: no options"],
    ),
    "wrong choice in a class": (
        ["--model.encoder", "ResNetEncoder", "--model.encoder.depth", "50"],
        ["--model.encoder.depth", "'50'", "18, 34"],
    ),
    "class that needs more": (
        ["--model.loss", "WeightedSum"],
        ["--model.loss", "'WeightedSum' needs losses", "dict[str, "],
    ),
    "argument of a class that is not chosen": (
        ["--data.source.max_images", "9"],
        ["--data.source.max_images", "no class is chosen", "FolderSource"],
    ),
    "bad optimizer": (
        ["--model.optimizer", "torch.optim.Adamm"],
        ["--model.optimizer", "'torch.optim.Adamm'", "Adam, AdamW", "did you mean Adam?"],
    ),
    "bad argument of an optimizer": (
        ["--model.optimizer", "AdamW", "--model.optimizer.lrr", "1"],
        ["--model.optimizer.lrr", "'1'", "lr, betas", "did you mean model.optimizer.lr?"],
    ),
    "bad rate": (
        ["--model.optimizer.lr", "fast"],
        ["--model.optimizer.lr", "'fast'", "a number"],
    ),
    "fragment that is not there": (
        ["--model.loss", LOSSES / "hubr.yaml"],
        ["--model.loss", "hubr.yaml' does not exist", "Huber, L1", "did you mean"],
    ),
    "value for a group": (["--run", "fast"], ["--run", "'fast'", "root, name"]),
    "no value": (["--data.size"], ["--data.size", "no value", "an integer"]),
    "stray word": (["stray"], ["'stray'", "--KEY VALUE"]),
}


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE)
def test_refused_when_parsed(fit, case):
    words, parts = ON_THE_COMMAND_LINE[case]
    says(fit("--config", QUICKSTART, *words), *parts)


def test_nothing_at_all(fit):
    says(fit(), "there is no model", "--config experiments/quickstart.yaml")


def test_settings_without_a_model(fit):
    says(fit("--data.size", "64"), "there is no model", "--config experiments/quickstart.yaml")
    says(fit("--model.encoder", "ConvEncoder"), "no class is chosen for model", "RegressionTask")


def test_config_without_a_file(fit):
    says(fit("--config"), "--config: no value is given")


def test_config_that_is_not_there(fit, tmp_path):
    says(fit("--config", "experiments/quickstart.yaml"), "No such file", "lightning-colorize init")
    says(
        fit("--config", EXPERIMENTS / "quickstat.yaml"),
        "quickstat.yaml: No such file",
        f"did you mean {QUICKSTART}?",
    )
    says(fit("--config", tmp_path), f"{tmp_path}: Is a directory")


# Each: content of my.yaml, and what must be said.
IN_A_FILE = {
    "not YAML": ("model: [unclosed\n  a: b: c\n", ["--config my.yaml: it is not YAML", "line 2"]),
    "no mapping": ("hello\n", ["my.yaml: not a mapping", "trainer, data, run, model"]),
    "no model": ("data:\n  size: 64\n", ["there is no model", "quickstart"]),
    "unknown group": (
        "dta:\n  size: 64\n",
        ["dta.size in my.yaml", "64", "did you mean data.size?"],
    ),
    "unknown key": (
        "data:\n  sise: 64\n" + MODEL.format(encoder="ConvEncoder", arguments="{}"),
        ["data.sise in my.yaml", "64", "size, batch_size", "did you mean data.size?"],
    ),
    "wrong type": (
        "data:\n  size: big\n" + MODEL.format(encoder="ConvEncoder", arguments="{}"),
        ["data.size in my.yaml", "'big'", "an integer"],
    ),
    "unknown class": (
        MODEL.format(encoder="ResNet99", arguments="{}"),
        [
            "model.encoder in my.yaml",
            "ResNet99' is not accepted",
            "ConvEncoder, MobileNetV2Encoder",
        ],
    ),
    "unknown argument": (
        MODEL.format(encoder="ResNetEncoder", arguments="{depht: 34}"),
        ["model.encoder.depht in my.yaml", "34", "did you mean model.encoder.depth?"],
    ),
    "misspelt init_args": (
        MODEL.format(encoder="ConvEncoder", arguments="{}").replace(
            "  init_args:\n", "  args:\n", 1
        ),
        ["model in my.yaml", "RegressionTask", "accepted: init_args"],
    ),
    "missing part": (
        MODEL.format(encoder="ConvEncoder", arguments="{}").split("    loss")[0],
        ["model in my.yaml", "RegressionTask' needs loss", "Huber, L1, MSE, WeightedSum"],
    ),
    "no class": (
        "model:\n  encoder:\n    class_path: lightning_colorize.networks.ConvEncoder\n",
        ["in my.yaml: no class is chosen for model", "RegressionTask"],
    ),
}


@pytest.mark.parametrize("case", IN_A_FILE)
def test_refused_in_a_file(fit, tmp_path, case):
    text, parts = IN_A_FILE[case]
    (tmp_path / "my.yaml").write_text(text)
    says(fit("--config", "my.yaml"), *parts)


# Each: words after the experiment, and what a constructor says of them.
WHEN_BUILT = {
    "max_time": (
        ["--trainer.max_time", "soon"],
        ["--trainer.max_time: 'soon'", "DD:HH:MM:SS"],
    ),
    "devices": (["--trainer.devices", "many"], ["--trainer.devices: 'many'", "an int > 0"]),
    "accelerator": (
        ["--trainer.accelerator", "abacus"],
        ["--trainer.accelerator: 'abacus'", "cpu"],
    ),
    "strategy": (["--trainer.strategy", "nope"], ["--trainer.strategy: 'nope'", "ddp"]),
    "widths of the decoder": (
        ["--model.decoder.widths", "[8,8]"],
        ["--model.decoder.widths: '[8,8]'", "there are 3 steps"],
    ),
    "weights that are not there": (
        ["--model.encoder", "ResNetEncoder", "--model.encoder.weights", "nope.pt"],
        [
            "--model.encoder.weights: 'nope.pt'",
            "nope.pt; give an existing one",
            "pretrained: false",
        ],
    ),
    "frozen without weights": (
        ["--model.encoder", "ResNetEncoder", "--model.encoder.frozen", "true"],
        ["--model.encoder.frozen: 'true'", "pretrained: true", "weights: PATH"],
    ),
    "levels": (
        ["--model.encoder", "ResNetEncoder", "--model.encoder.levels", "9"],
        ["--model.encoder.levels: '9'", "a ResNet has 1 to 5"],
    ),
    "held-out photograph": (
        ["--data.source", "EmbeddedSource", "--data.source.held_out", "dog"],
        ["held_out is 'dog'", "astronaut, chelsea"],
    ),
    "size": (["--data.size", "0"], ["--data.size is 0", "at least 1"]),
    "folder that is not there": (
        ["--data.root", "nowhere", "--trainer.fast_dev_run", "1"],
        ["nowhere does not exist", "--data.root"],
    ),
}


@pytest.mark.parametrize("case", WHEN_BUILT)
def test_refused_when_built(fit, case):
    words, parts = WHEN_BUILT[case]
    says(fit("--config", QUICKSTART, *words), *parts)


def test_a_missing_weights_file_is_not_blamed_on_another_key(fit):
    settings = "{weights: nope.pt, pretrained: true}"
    Path("my.yaml").write_text(MODEL.format(encoder="ResNetEncoder", arguments=settings))
    says(fit("--config", "my.yaml"), "model.encoder.weights in my.yaml: 'nope.pt'", "no file ")
    words = ("--model.encoder.weights", "nope.pt", "--model.encoder.pretrained", "true")
    text = fit("--config", QUICKSTART, "--model.encoder", "ResNetEncoder", *words)
    says(text, "--model.encoder.weights: 'nope.pt'")


def test_pretrained_weights_that_cannot_be_fetched(fit, monkeypatch):
    def offline(self, *args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models.WeightsEnum.get_state_dict", offline)
    text = fit("--config", EXPERIMENTS / "resnet34_upsample.yaml")
    says(text, "model.encoder.pretrained in", "no network", "weights: PATH", "pretrained: false")


def test_unknown_metric_to_monitor(fit):
    text = fit("--config", QUICKSTART, "--run.monitor", "val/nope")
    says(text, "--run.monitor: 'val/nope' is never logged", "val/psnr")


def test_a_fault_in_a_program_keeps_its_traceback():
    assert is_bad_input(ValueError("levels is 9"))
    assert is_bad_input(ArgumentError(None, "unrecognized arguments: --x"))
    assert not is_bad_input(RuntimeError("shapes do not fit"))
    with pytest.raises(TypeError) as caught:
        len(5)
    assert not is_bad_input(caught.value)
    with pytest.raises(TypeError) as caught:
        Trainer(devices="many", accelerator="cpu", logger=False)
    assert is_bad_input(caught.value), "Lightning's own, on what it was given"


def test_unknown_form_of_a_message_is_shortened():
    text = explain(ArgumentError(None, "one\n\n  two\nthree\nfour"), [])
    assert text == "one\ntwo\nthree"


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (["--run.go_on", "true"], "use --run.auto_resume"),
        (["--run.grid_pictures", "4"], "use --run.grid_images"),
        (["--run.monitor", "val/hue_r"], "use val/ab_corr"),
    ],
)
def test_old_names_give_the_new_one(fit, words, new):
    says(fit("--config", QUICKSTART, *words), words[0], words[1], new)


def test_given_is_the_last_word_then_the_last_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("data: {size: 1, flip: 0.1}\n")
    Path("b.yaml").write_text("data: {size: 2}\n")
    files = ["--config", "a.yaml", "--config=b.yaml"]
    words = given([*files, "--data.size", "3", "--data.size=4"])
    assert words["data.size"] == ("4", "--data.size")
    assert given(files)["data.size"] == (2, "data.size in b.yaml")
    assert given(files)["data.flip"] == (0.1, "data.flip in a.yaml")
