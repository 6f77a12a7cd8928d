"""Every YAML of experiments/: parsed, commented and run for a step; fragments in combination."""

import importlib
import inspect
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from skimage.color import rgb2lab
from torchvision.models import get_model

from lightning_colorize.cli import main
from lightning_colorize.common.class_paths import Trust, build
from lightning_colorize.data.sources import FolderSource
from lightning_colorize.losses import Loss
from lightning_colorize.models.checkpoint import prepare_for_state
from lightning_colorize.networks import parameter_count
from lightning_colorize.networks.encoders import torchvision_backbone
from lightning_colorize.runs.folder import flatten
from lightning_colorize.tasks import ColorizationTask
from tests.conftest import metric_rows, write_images

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
SYSTEMS = sorted(path for path in EXPERIMENTS.glob("*.yaml") if path.stem != "base")
PRESETS = sorted(path for kind in ("debug", "trainer") for path in (EXPERIMENTS / kind).glob("*"))
SLOTS = {
    "encoder": "model",
    "decoder": "model",
    "loss": "model",
    "optimizer": "model",
    "adversarial_loss": "model",
    "discriminator": "model",
    "objective": "model",
    "source": "data",
}
FRAGMENTS = {slot: sorted((EXPERIMENTS / slot).glob("*.yaml")) for slot in SLOTS}
PUBLISHED = {
    *("resnet34_upsample", "resnet18_deconv", "vgg16_upsample", "cnn_autoencoder", "cnn_unet"),
    *("cgan_pix2pix", "cgan_faces_landscapes"),
}
RECIPES = {"ddcolor", "deoldify", "zhang2016", "zhang2017"}
EVERY = sorted(EXPERIMENTS.rglob("*.yaml"))

# Tests cannot download pretrained weights.
OFFLINE = ["--model.encoder.pretrained", "false"]
FROZEN = ["--model.encoder.frozen", "false"]


def stem(path):
    return str(path.relative_to(EXPERIMENTS).with_suffix(""))


def all_but_these_slow(paths, *stems):
    """Make parameters of paths; all but the named ones are slow."""
    return [
        pytest.param(path, id=stem(path), marks=[] if stem(path) in stems else pytest.mark.slow)
        for path in paths
    ]


def parse(parser, *words):
    return parser.parse_args([str(word) for word in words]).as_dict()


def in_turn(slot, number):
    return FRAGMENTS[slot][number % len(FRAGMENTS[slot])]


def without_origin(value):
    """Return a configuration without the files that its parts came from.

    A class that takes no arguments may have an empty mapping of them, or none.
    """
    if isinstance(value, dict):
        return {
            k: without_origin(v)
            for k, v in value.items()
            if not k.startswith("__") and not (k == "init_args" and not v)
        }
    return value


@pytest.mark.parametrize("name", sorted(PUBLISHED | RECIPES | {"cgan_staged"}))
def test_each_key_says_where_its_value_comes_from(name):
    """DeOldify has no part in the published systems."""
    text = (EXPERIMENTS / f"{name}.yaml").read_text()
    marks = set(re.findall(r"^ *(?:- )?\w+: \S.*? # (\w+)", text, re.MULTILINE))
    if name in RECIPES:
        assert marks == {"published", "ours"}
    else:
        others = set() if name in PUBLISHED else {"DeOldify"}
        assert marks <= {"source", "pix2pix", "ours"} | others
    # Stated although base.yaml has them.
    config = yaml.safe_load(text)
    assert config["data"].keys() >= {"resize", "augmentation"}
    assert config["data"]["augmentation"].keys() >= {"flip", "crop_scale"}
    assert "monitor" in config["run"]


@pytest.mark.parametrize("path", EVERY, ids=stem)
def test_every_key_is_commented_and_every_class_is_public(path):
    for class_path in re.findall(r"class_path: (lightning_colorize\S+)", path.read_text()):
        module, name = class_path.rsplit(".", 1)
        assert name in importlib.import_module(module).__all__
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# "), "the first line describes the file"
    for above, line in itertools.pairwise(lines):
        if re.match(r"\s*[\w.]+: \S", line):  # a key with its value on the line
            assert re.search(r"\S # \S", line) or above.startswith("# "), f"no comment: {line}"


# The numbers of the publications, key by key.
PATH = "lightning_colorize.networks"
MSE = {"model.loss.class_path": "lightning_colorize.losses.MSE"}
ADAM = {"model.optimizer.class_path": "torch.optim.Adam"}
CNN = {"data.size": 128, "trainer.max_epochs": 20}
STATED = {
    "resnet34_upsample": {
        "data.size": 224,
        "data.resize": "stretch",
        "model.encoder.class_path": f"{PATH}.ResNetEncoder",
        "model.encoder.depth": 34,
        "model.encoder.levels": 3,
        "model.encoder.normalization": "0..1",
        "model.head.target_range": "0..1",
        **MSE,
        **ADAM,
    },
    "resnet18_deconv": {
        "data.size": 224,
        "model.encoder.depth": 18,
        "model.encoder.levels": 3,
        "model.decoder.mode": "transposed",
    },
    "vgg16_upsample": {
        "data.size": 224,
        "data.resize": "stretch",
        "data.batch_size": 16,
        "trainer.max_epochs": 2000,
        "model.encoder.class_path": f"{PATH}.VGG16Encoder",
        "model.encoder.pretrained": True,
        "model.encoder.frozen": True,
        **MSE,
        **ADAM,
    },
    "cnn_autoencoder": {**CNN, **MSE, "model.decoder.skips": False},
    "cnn_unet": {**CNN, **MSE, "model.decoder.skips": True},
    "cgan_pix2pix": {
        **CNN,
        "model.adversarial_loss.class_path": "lightning_colorize.losses.BCEAdversarial",
    },
    "cgan_faces_landscapes": {
        "model.loss_weight": 100,
        "model.halve_discriminator_loss": False,
        **{
            f"model.{part}_optimizer.{key}": value
            for part in ("generator", "discriminator")
            for key, value in (("lr", 2e-4), ("betas", (0.5, 0.999)))
        },
    },
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_values_are_set(parser, name):
    config = flatten(parse(parser, "--config", EXPERIMENTS / f"{name}.yaml"))
    config = {key.replace(".init_args", ""): value for key, value in config.items()}
    assert {key: config[key] for key in STATED[name]} == STATED[name]


# Of the generator. Zhang et al. 2017 without hints: the published one without what the file names.
# DDColor's paper counts 227.9 million, DeOldify's code 63.6: the files say why ours differ.
PARAMETERS = {
    "zhang2016": 32_235_385,
    "zhang2017": 34_187_027 - 9 * 3 * 64 - (256 + 1) * 529,
    "ddcolor": 222_767_242,
    "deoldify": 76_092_490,
}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_published_networks_have_their_parameters(name):
    model = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())["model"]
    prepare_for_state(model["init_args"])
    with torch.device("meta"):
        net = build(model, ColorizationTask, Trust()).net
    parts = [net.encoder.pretrained_part, net.decoder, net.head]
    assert sum(sum(parameter_count(part)) for part in parts) == PARAMETERS[name]


def test_sources_are_the_published_parts(parser, tmp_path):
    """200 hounds, 20,000 faces, and the color half of pairs."""
    hounds = yaml.safe_load((EXPERIMENTS / "source/basset_hounds.yaml").read_text())["init_args"]
    assert hounds["breed"] == "basset_hound"
    assert hounds["splits"] == {"train": 134, "val": 36, "test": 30}
    config = parse(parser, "--config", EXPERIMENTS / "cgan_faces_landscapes.yaml")
    faces, _, mixed = folders = config["data"]["source"]["init_args"]["folders"]
    assert (faces["max_images"], faces["seed"]) == (20_000, 0)
    assert {folder["weight"] for folder in folders} == {1.0}
    for name in ("train_color/1.jpg", "train_black/1.jpg", "test_color/2.jpg", "test_black/2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    splits = FolderSource(exclude=mixed["exclude"]).splits(tmp_path).values()
    names = {images.name(i) for images in splits for i in range(len(images))}
    assert names == {"train_color/1.jpg", "test_color/2.jpg"}


# Arguments of a base class that do not suit the network.
FIXED = {"VGG16Encoder": {"levels"}}


@pytest.mark.parametrize("slot", sorted(SLOTS.keys() - {"optimizer"}))
def test_fragments_list_all_arguments(slot):
    """An argument left out would keep the value of the class that the fragment replaces."""
    for path, part in classes_in(slot):
        module, name = part["class_path"].rsplit(".", 1)
        cls = getattr(importlib.import_module(module), name)
        own = cls.__init__ not in (torch.nn.Module.__init__, object.__init__)
        named = set(inspect.signature(cls).parameters) if own else set()
        for base in cls.__mro__[1:]:
            if "options" in named:  # of this base class
                named = named - {"options"} | set(inspect.signature(base).parameters)
        named -= {"published"} | FIXED.get(name, set())
        # A decoder's first argument is given by the task, the channels by a loss.
        assert set(part.get("init_args", {})) == named - {"info", "in_channels"}, path.name


def classes_in(slot):
    """Yield the file and each class with its arguments of a slot's fragments."""
    for path in FRAGMENTS[slot]:
        for part in classes_of(yaml.safe_load(path.read_text())):
            yield path, part


def classes_of(value):
    """Yield each class with its arguments, nested ones too."""
    if isinstance(value, dict):
        if "class_path" in value:
            yield value
        for part in value.values():
            yield from classes_of(part)


def test_every_loss_has_a_fragment():
    named = {part["class_path"].rpartition(".")[2] for _, part in classes_in("loss")}
    ours = [c for c in Loss.__subclasses__() if c.__module__.startswith("lightning_colorize.")]
    assert named >= {cls.__name__ for cls in ours}


@pytest.mark.parametrize("path", all_but_these_slow(SYSTEMS, "cgan_pix2pix"))
def test_fragments_resolve_alike_over_any_experiment(parser, path):
    """No init_args of the replaced class may survive.

    All fragments over one experiment of each task, and one of each slot over every experiment.
    """
    model = parse(parser, "--config", path)["model"]
    slots = [slot for slot in SLOTS if SLOTS[slot] == "data" or slot in model["init_args"]]
    most = max(map(len, FRAGMENTS.values()))
    all_of_them = path.stem in ("cgan_pix2pix", "cnn_unet", "flow")
    for number in range(most) if all_of_them else [SYSTEMS.index(path)]:
        words = [w for slot in slots for w in (f"--{SLOTS[slot]}.{slot}", in_turn(slot, number))]
        alone = parse(parser, "--model", model["class_path"], *words)
        config = parse(parser, "--config", path, *words)
        for slot in slots:
            one, other = (without_origin(section_of(c, slot)[slot]) for c in (alone, config))
            assert one == other, f"{path.stem} x {in_turn(slot, number)}"


def section_of(config, slot):
    return config["model"]["init_args"] if SLOTS[slot] == "model" else config["data"]


@pytest.mark.parametrize("preset", PRESETS, ids=stem)
def test_presets_parse_over_experiments(parser, preset):
    expected = yaml.safe_load(preset.read_text())["trainer"]
    for name in ("photos_cpu", "cgan_staged"):  # with much in `trainer` of their own
        path = EXPERIMENTS / f"{name}.yaml"
        config = parse(parser, "--config", path, "--config", preset)
        for key, value in expected.items():
            if not isinstance(value, dict):
                assert config["trainer"][key] == value


def test_command_line_reaches_into_fragments(parser):
    encoder = ["--model.encoder", EXPERIMENTS / "encoder/conv.yaml"]
    encoder += ["--model.encoder.widths", "[8,16]"]
    loss = ["--model.loss", EXPERIMENTS / "loss/l1_mse_sum.yaml", "--model.loss.weights.l1", 3]
    config = parse(parser, "--config", EXPERIMENTS / "photos_cpu.yaml", *encoder, *loss)
    assert config["model"]["init_args"]["encoder"]["init_args"]["widths"] == [8, 16]
    loss = config["model"]["init_args"]["loss"]["init_args"]
    assert loss["weights"] == {"l1": 3.0, "mse": 1.0}


def test_fragments_are_found_next_to_the_experiment_and_saved_resolved(parser, tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text(
        "class_path: lightning_colorize.losses.Huber\ninit_args:\n  delta: 0.25\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "model:\n"
        "  class_path: lightning_colorize.tasks.RegressionTask\n"
        "  init_args:\n"
        "    encoder: ConvEncoder\n"
        "    loss: loss/mine.yaml\n"
    )
    config = parser.parse_args(["--config", str(tmp_path / "mine.yaml")])
    saved = yaml.safe_load(parser.dump(config))["model"]["init_args"]["loss"]
    assert saved == {"class_path": "lightning_colorize.losses.Huber", "init_args": {"delta": 0.25}}


# Running.


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A plain folder of small images, without sub-folders."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, 12)
    return folder


def random_weights(published):
    """Return a state dict of the form that torchvision publishes; batch norms have statistics."""
    with torch.device("meta"):
        state = get_model(type(published).__name__.removesuffix("_Weights").lower()).state_dict()
    empty = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in state.items()}
    return {n: v + 1 if n.endswith("running_var") else v for n, v in empty.items()}


@pytest.fixture
def fit(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    # Of the backbones in losses, which are not built without weights.
    monkeypatch.setattr(torchvision_backbone, "fetch_torchvision", random_weights)

    def run(path, *words, size=32):
        configured = yaml.safe_load(path.read_text())["model"]["init_args"]["encoder"]
        settings = configured.get("init_args", {})
        offline = [*(OFFLINE if "pretrained" in settings else [])]
        offline += FROZEN if "frozen" in settings else []
        if settings.get("norm_eval") and "pretrained" in settings:
            offline += ["--model.encoder.norm_eval", "false"]
        return main(
            [
                *("fit", "--config", str(path)),
                *("--data.root", str(images), "--data.size", str(size)),
                *("--data.batch_size", "2", "--trainer.accelerator", "cpu"),
                *offline,
                *map(str, words),
            ]
        )

    return run


# All parts of the GANs' training, on networks and images smaller than theirs.
CRITIC = ["--model.discriminator.layers", "3", "--model.discriminator.width", "8"]
SMALLER = {
    "ddcolor": [*CRITIC, "--model.encoder.name", "convnext_atto"],
    "deoldify": [*CRITIC, "--model.generator_epochs", "0", "--model.discriminator_epochs", "0"],
}
QUICK = {"quickstart", "photos_cpu", "cnn_autoencoder", "cnn_unet", "resnet18_deconv"}


# Prompts need a text encoder: tests/networks/test_text.py.
@pytest.mark.parametrize(
    "path", all_but_these_slow([p for p in SYSTEMS if p.stem != "flow_text"], *QUICK)
)
def test_experiment_runs_a_step_on_a_plain_folder(fit, path, images, tmp_path):
    words = ["--config", EXPERIMENTS / "debug" / "one_batch.yaml"]
    if path.stem == "cgan_faces_landscapes":
        words += ["--data.root", lay_out("mixture", images, tmp_path)]
    words += SMALLER.get(path.stem, [])
    if path.stem.startswith("default_model"):  # a mixture of 25 folders, ImageNet
        words += ["--data.source", EXPERIMENTS / "source" / "folder.yaml"]
    assert fit(path, *words) == 0
    assert not (tmp_path / "runs").exists(), "one_batch writes nothing"


# Each encoder with one decoder, loss and optimizer after the other, so that every fragment runs.
LARGE = {path.stem for path in FRAGMENTS["encoder"] if path.stem.startswith("timm_")}
LARGE |= {"zhang", "unet"}
COMBINED = [
    pytest.param(number, marks=pytest.mark.slow if path.stem in LARGE else [], id=path.stem)
    for number, path in enumerate(FRAGMENTS["encoder"])
]


def decoder_for(encoder, number):
    """Return the decoder of the encoder's name, else one of those that fit any."""
    names = {path.stem for path in FRAGMENTS["encoder"]}
    own = [path for path in FRAGMENTS["decoder"] if path.stem == encoder.stem]
    any_encoder = [path for path in FRAGMENTS["decoder"] if path.stem not in names]
    return [*own, any_encoder[number % len(any_encoder)]][0]


@pytest.mark.parametrize("number", COMBINED)
def test_network_loss_and_optimizer_fragments_run_a_step(fit, number):
    encoder = FRAGMENTS["encoder"][number]
    words = ["--model.encoder", encoder]
    settings = yaml.safe_load(encoder.read_text())["init_args"]
    words += [word for pair in (OFFLINE, FROZEN) if pair[0][16:] in settings for word in pair]
    if "encoder" in settings:
        words += ["--model.encoder.encoder.pretrained", "false"]
    words += ["--model.decoder", decoder_for(encoder, number)]
    for slot in ("loss", "optimizer"):
        words += [f"--model.{slot}", in_turn(slot, number)]
    quickstart = EXPERIMENTS / "quickstart.yaml"
    size = 256 if encoder.stem == "unet" else 64
    assert fit(quickstart, *words, "--trainer.fast_dev_run", "1", size=size) == 0


@pytest.mark.parametrize("number", range(4))
def test_adversarial_and_discriminator_fragments_run_a_step(fit, number):
    words = ["--model.encoder.width", 4]
    for slot in ("adversarial_loss", "discriminator"):
        words += [f"--model.{slot}", in_turn(slot, number)]
    experiment = EXPERIMENTS / "cgan_pix2pix.yaml"
    assert fit(experiment, *words, "--trainer.fast_dev_run", "1", size=64) == 0


def test_combinations_cover_every_fragment():
    assert max(len(FRAGMENTS[slot]) for slot in ("adversarial_loss", "discriminator")) == 4
    numbers = [param.values[0] for param in COMBINED]
    decoders = {decoder_for(FRAGMENTS["encoder"][number], number) for number in numbers}
    assert decoders == set(FRAGMENTS["decoder"])
    for slot in ("loss", "optimizer"):
        assert {in_turn(slot, number) for number in numbers} == set(FRAGMENTS[slot])


def lay_out(name, images, folder):
    """Lay out images for the source of that name; returns the value of `data.root`."""
    files = sorted(images.iterdir())
    if name == "folder":
        return images
    if name == "embedded":
        return "null"
    if name == "shards":
        assert main(["pack", str(images), str(folder / "shards"), "--workers", "1"]) == 0
        return folder / "shards"
    if name == "huggingface":
        import datasets

        rows = [{"image": {"bytes": file.read_bytes(), "path": file.name}} for file in files]
        features = datasets.Features(image=datasets.Image())
        datasets.Dataset.from_list(rows, features).save_to_disk(folder / "rows")
        return folder / "rows"
    if name == "webdataset":
        shutil.make_archive(folder / "images", "tar", images)
        return folder / "images.tar"
    if name == "manifest":
        rows = [f"{file},{'val' if i % 4 == 0 else 'train'}" for i, file in enumerate(files)]
        (folder / "list.csv").write_text("\n".join(["path,split", *rows]))
        return folder / "list.csv"
    names = {
        "mixture": [f"{part}/{i}.png" for part in ("faces", "landscapes", "mixed")
                    for i in range(6)],
        "imagenet": [f"{part}/{i}.JPEG" for part in ("train/n01", "train/n02", "val")
                     for i in range(4)],
        "basset_hounds": [f"oxford-iiit-pet/images/basset_hound_{i}.jpg" for i in range(1, 201)],
    }[name]  # fmt: skip
    for number, relative in enumerate(names):
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(files[number % len(files)], path)
    return folder


@pytest.mark.parametrize("source", FRAGMENTS["source"], ids=stem)
def test_source_fragments_run_a_step_on_their_layout(fit, images, tmp_path, source):
    quickstart = EXPERIMENTS / "quickstart.yaml"
    root = lay_out(source.stem, images, tmp_path)
    words = ["--data.root", root, "--data.source", source, "--data.num_workers", "0"]
    assert fit(quickstart, *words, "--trainer.fast_dev_run", "1") == 0


@pytest.fixture
def debug(fit, tmp_path):
    def run(preset, *words):
        preset = EXPERIMENTS / "debug" / f"{preset}.yaml"
        words = ["--config", preset, "--run.name", "run", *words]
        assert fit(EXPERIMENTS / "quickstart.yaml", *words) == 0
        return tmp_path / "runs" / "quickstart" / "run"

    return run


@pytest.mark.slow
def test_overfit_preset_learns_its_batch(debug):
    run = debug("overfit", "--trainer.max_epochs", "60", "--model.scheduler", "null")
    losses = [float(row["train/loss"]) for row in metric_rows(run) if row["train/loss"]]
    assert len(losses) == 60
    assert np.mean(losses[-5:]) < 0.3 * losses[0]


@pytest.mark.slow
def test_profile_preset_leaves_a_table(debug):
    table = (debug("profile", "--trainer.max_steps", "3") / "fit-profile.txt").read_text()
    assert "run_training_batch" in table


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_quickstart_beats_grey(tmp_path, monkeypatch):
    """On validation images, in color, after a twelfth of its epochs, on smaller images."""
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--config", str(EXPERIMENTS / "quickstart.yaml"), "--run.name", "run"]
    words += ["--data.size", "64", "--run.loggers.wandb", "disabled"]
    assert main([*words, "--trainer.max_epochs", "2"]) == 0
    run = tmp_path / "runs" / "quickstart" / "run"
    result = json.loads((run / "result.json").read_text())
    grey = result["baselines"]["grey"]
    assert result["metrics"]["val/psnr"] > grey["val/psnr"] + 0.5
    assert result["metrics"]["val/ciede2000"] < 0.95 * grey["val/ciede2000"]
    grid = np.asarray(Image.open(sorted((run / "images").glob("val_grid_*.png"))[-1]))
    third = grid.shape[1] // 3
    ab = rgb2lab(grid[:, third : 2 * third])[..., 1:]
    assert np.hypot(ab[..., 0], ab[..., 1]).mean() >= 5
