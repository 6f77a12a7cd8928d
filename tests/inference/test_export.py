import json

import pytest
import torch
from PIL import Image

from lightning_colorize.commands.tune_decoding import store_decoding
from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference import load_model
from lightning_colorize.runs.folder import lock
from tests.conftest import Commands


@pytest.fixture(scope="module")
def classified_run(photo_folder, tmp_path_factory):
    """A run of classification with a moving average, which predicts."""
    command = Commands(photo_folder, tmp_path_factory.mktemp("classified"))
    loss = ("--model.loss", "lightning_colorize.losses.CrossEntropy")
    return command.fit("classified", *loss, "--model.ema_decay", 0.5)


@pytest.fixture
def exported(classified_run, tmp_path):
    model = load_model(classified_run)
    model.set_decoding(vividness=0.25, strength=1.2, flip=True)
    file = tmp_path / "small.safetensors"
    model.export(str(file))
    return model, file


def test_an_exported_model_predicts_the_same(exported):
    model, file = exported
    read = load_model(file)
    L = torch.rand(2, 1, 32, 40, generator=torch.Generator().manual_seed(0)) * 100
    assert torch.allclose(read.predict(L), model.predict(L), atol=0.05)
    assert read.decoding == model.decoding
    assert read.decoding["vividness"] == 0.25
    assert (read.decoding["strength"], read.decoding["flip"]) == (1.2, True)
    assert read.size == model.size == 32
    assert "/" not in json.dumps(read.model.description["encoder"])  # no path of this machine
    for name, value in model.baselines.state_dict().items():
        assert torch.equal(read.baselines.state_dict()[name], value)


@pytest.mark.parametrize("where", [0.02, 0.5, 0.99])
def test_a_changed_byte_is_damage(exported, where):
    _, file = exported
    content = bytearray(file.read_bytes())
    content[int(where * len(content))] ^= 1
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"small\.safetensors is damaged"):
        load_model(file)


def test_other_files_are_refused_in_one_line(tmp_path):
    file = tmp_path / "other.safetensors"
    with pytest.raises(UsageError, match="does not exist"):
        load_model(file)
    file.write_bytes(b"no tensors")
    with pytest.raises(UsageError, match="damaged, or not a checkpoint"):
        load_model(file)


def test_weights_beyond_half_precision_are_refused(classified_run, tmp_path):
    model = load_model(classified_run)
    conv = model.model.network.head.conv
    wide = torch.nn.Conv2d(64, len(conv.weight), 1)
    torch.nn.init.constant_(wide.weight, 1e6)
    model.model.network.head.conv = wide
    with pytest.raises(UsageError, match="too large for half precision"):
        model.export(tmp_path / "large.safetensors")
    with pytest.raises(UsageError, match=r"give a name that ends with \.safetensors"):
        model.export(str(tmp_path / "large.bin"))
    assert not list(tmp_path.iterdir())


def test_a_stored_decoding_is_the_default_from_then_on(classified_run, tmp_path):
    file = classified_run / "checkpoints/last.ckpt"
    before = torch.load(file, weights_only=True)
    model = load_model(file)
    assert model.decoding["strength"] == 1
    store_decoding(model.model, {**model.decoding, "strength": 0.0, "size": 48})
    stored = load_model(file)
    assert (stored.decoding["strength"], stored.size) == (0, 48)
    grey = stored.colorize(Image.new("RGB", (40, 40), "red"))
    assert all(low == high for low, high in [band.getextrema() for band in grey.split()])
    after = torch.load(file, weights_only=True)
    assert after.keys() == before.keys() | {"decoding"}
    for name, value in before["state_dict"].items():
        assert torch.equal(after["state_dict"][name], value)


def test_nothing_is_stored_in_a_run_that_trains(classified_run):
    file = classified_run / "checkpoints/best.ckpt"
    before = file.read_bytes()
    model = load_model(file).model
    with lock(classified_run), pytest.raises(UsageError, match="another process"):
        store_decoding(model, {"strength": 0.5})
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        ({"hue": 1.0}, "no setting hue"),
        ({"strength": 9.0}, r"strength must be from 0 to 1\.5"),
        ({"size": "48"}, "image size"),
    ],
)
def test_a_crafted_decoding_is_one_line(classified_run, tmp_path, decoding, message):
    checkpoint = torch.load(classified_run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["decoding"] = decoding
    file = tmp_path / "crafted.ckpt"
    torch.save(checkpoint, file)
    with pytest.raises(UsageError, match=rf"crafted\.ckpt.* {message}"):
        load_model(file)
