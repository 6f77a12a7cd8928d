"""Training and using a model from Python, without the command."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from pytorch_lightning import Trainer
from torch import nn
from torchvision.transforms import v2

from lightning_colorize import Colorizer
from lightning_colorize.cli import main
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import ImageError, read_image
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.inference import load_model
from lightning_colorize.losses import L1, WeightedSum
from lightning_colorize.networks import ConvEncoder
from lightning_colorize.networks.decoders.upsample import UpsampleDecoder
from lightning_colorize.tasks import CGANTask, RegressionTask


class Narrow(ConvEncoder):
    def __init__(self, width: int = 4) -> None:
        super().__init__(widths=(width, 2 * width))


def fit(model, folder, out):
    data = ColorizationDataModule(str(folder), size=32, batch_size=4, num_workers=0)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=out,
    )  # fmt: skip
    trainer.fit(model, data)
    return trainer, data


def regression(encoder):
    return RegressionTask(
        encoder,
        loss=WeightedSum({"l1": L1()}, weights={"l1": 2.0}),
        decoder=partial(UpsampleDecoder, widths=[8]),
        optimizer=partial(torch.optim.SGD, lr=0.01),
    )


@pytest.fixture(scope="module")
def trained(photo_folder, tmp_path_factory):
    model = regression(ConvEncoder([4, 8]))
    trainer, data = fit(model, photo_folder, tmp_path_factory.mktemp("trained"))
    return model, trainer, data, trainer.checkpoint_callback.best_model_path


def same_weights(model, other):
    state = model.state_dict()
    return all(torch.equal(state[name], value) for name, value in other.state_dict().items())


def test_a_task_is_rebuilt_from_its_checkpoint(trained):
    model, _, _, path = trained
    task = RegressionTask.load_from_checkpoint(path)
    assert same_weights(task, model)
    assert task.loss.weights == {"l1": 2.0}
    optimizer = task.optimization.optimizer([nn.Parameter(torch.zeros(1))])
    assert (type(optimizer), optimizer.param_groups[0]["lr"]) == (torch.optim.SGD, 0.01)
    with pytest.raises(UsageError, match="RegressionTask is not a CGANTask"):
        CGANTask.load_from_checkpoint(path)


def test_commands_accept_the_checkpoint_of_a_plain_trainer(trained, photo_folder, tmp_path, capsys):
    path = trained[3]
    assert main(["evaluate", path, "--data", str(photo_folder), "--device", "cpu"]) == 0
    assert "model" in capsys.readouterr().out
    image = next((photo_folder / "test").iterdir())
    out = tmp_path / "colored.png"
    assert main(["colorize", str(image), str(out), "--checkpoint", path, "--device", "cpu"]) == 0
    assert Image.open(out).size == Image.open(image).size


def test_predict_returns_images_with_their_names(trained):
    model, trainer, data, _ = trained
    batches = trainer.predict(model, data)
    assert [name for batch in batches for name in batch.names] == [
        "test/030.png",
        "test/031.jpg",
        "test/032.png",
    ]
    for batch in batches:
        assert batch.rgb.shape == (len(batch.names), 3, 32, 32)
        assert (batch.rgb.dtype, batch.rgb.device.type) == (torch.uint8, "cpu")


@pytest.mark.parametrize("kind", ["deep", "float", "transparent", "rotated"])
def test_a_pil_image_is_converted_as_its_file_is(trained, tmp_path, kind):
    random = np.random.default_rng(0)
    path = tmp_path / ("image.tiff" if kind == "float" else "image.png")
    values = {
        "deep": random.integers(0, 2**16, (24, 40), dtype=np.uint16),
        "float": random.random((24, 40), dtype=np.float32),
        "transparent": random.integers(0, 256, (24, 40, 4), dtype=np.uint8),
        "rotated": random.integers(0, 256, (24, 40, 3), dtype=np.uint8),
    }
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6 if kind == "rotated" else 1
    Image.fromarray(values[kind]).save(path, exif=exif)
    model = load_model(trained[3])
    with Image.open(path) as image:
        colored = np.array(model.colorize(image))
    assert np.array_equal(colored, model.colorize(read_image(path)).movedim(0, -1).numpy())


def test_an_imported_class_outside_the_package_needs_no_permission(photo_folder, tmp_path):
    model = regression(Narrow(width=6))
    trainer, _ = fit(model, photo_folder, tmp_path)
    path = trainer.checkpoint_callback.best_model_path
    task = RegressionTask.load_from_checkpoint(path)
    assert type(task.net.encoder) is Narrow
    assert same_weights(task, model)
    with pytest.raises(UsageError, match=r"--allow-class \S*Narrow"):
        load_model(path)
    assert same_weights(load_model(path, allow=[f"{__name__}.Narrow"]).model.network, model.net)


@pytest.mark.filterwarnings("ignore:checkpoints of this task do not record")
def test_an_argument_that_is_not_recorded_is_passed_again(photo_folder, tmp_path):
    def decoder(info):
        return UpsampleDecoder(info, widths=[6])

    model = RegressionTask(ConvEncoder([4, 8]), L1(), decoder)
    trainer, _ = fit(model, photo_folder, tmp_path)
    path = trainer.checkpoint_callback.best_model_path
    with pytest.raises(UsageError, match="does not record decoder: pass it"):
        RegressionTask.load_from_checkpoint(path)
    assert same_weights(RegressionTask.load_from_checkpoint(path, decoder=decoder), model)


@pytest.fixture(scope="module")
def colorizer():
    return Colorizer.from_pretrained()


@pytest.mark.filterwarnings("error:.*writable")
def test_any_kind_of_image_is_colored_and_returned_in_its_kind(colorizer, tmp_path):
    drawn = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    rgb = np.asarray(Image.fromarray(drawn))
    assert not rgb.flags.writeable
    expected = np.asarray(colorizer.colorize(Image.fromarray(rgb)))
    assert expected.shape == rgb.shape
    Image.fromarray(rgb).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        colored = colorizer.colorize(path)
        assert isinstance(colored, Image.Image)
        np.testing.assert_array_equal(np.asarray(colored), expected)
    np.testing.assert_array_equal(colorizer.colorize(rgb), expected)
    tensor = colorizer.colorize(torch.from_numpy(drawn).permute(2, 0, 1))
    np.testing.assert_array_equal(tensor.permute(1, 2, 0), expected)
    assert colorizer.colorize(Image.fromarray(rgb).convert("L")).mode == "RGB"
    grey = rgb[..., 0]
    colored = colorizer.colorize(np.dstack([grey] * 3))
    np.testing.assert_array_equal(colorizer.colorize(grey), colored)
    np.testing.assert_array_equal(colorizer.colorize(grey[..., None]), colored)
    single = colorizer.colorize(torch.from_numpy(drawn[..., 0])[None])
    np.testing.assert_array_equal(single.permute(1, 2, 0), colored)
    assert colorizer.colorize(grey.astype(np.uint16) * 257).dtype == np.uint16


def test_images_of_any_sizes_share_batches_and_keep_their_order(colorizer):
    rng = np.random.default_rng(0)
    shapes = [(40, 60), (60, 40), (41, 60), (33, 33), (40, 61)]
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    colored = list(colorizer.colorize_all(iter(images), batch_size=4))
    assert [image.shape for image in colored] == [image.shape for image in images]
    for image, together in zip(images, colored, strict=True):
        difference = np.abs(colorizer.colorize(image).astype(int) - together)
        assert difference.max() <= 1


def test_a_transform_and_a_step_of_another_pipeline(colorizer):
    transform = v2.Compose([v2.Resize(48), colorizer, v2.ToDtype(torch.float32, scale=True)])
    assert transform(torch.zeros(3, 64, 80, dtype=torch.uint8)).shape == (3, 48, 60)
    L = torch.rand(2, 1, 64, 96) * 100
    ab = colorizer.predict(L)
    assert ab.shape == (2, 2, 64, 96)
    assert 1 < ab.abs().max() < 130


def test_wrong_images_are_named(colorizer, tmp_path):
    for image, message in [
        (5, "not <class 'int'>"),
        (np.zeros((4, 4, 2), np.uint8), r"not \(4, 4, 2\)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"not \(4, 4, 3\)"),
        (np.zeros((4, 4)), "not torch.float64"),
        (np.zeros((0, 5, 3), np.uint8), r"with pixels, not \(0, 5, 3\)"),
        (torch.zeros(3, 5, 0, dtype=torch.uint8), r"with pixels, not \(3, 5, 0\)"),
    ]:
        with pytest.raises(TypeError, match=message):
            colorizer.colorize(image)
    with pytest.raises(ImageError, match="No such file"):
        colorizer.colorize(tmp_path / "none.jpg")
    with pytest.raises(UsageError, match="does not exist"):
        Colorizer.from_pretrained(tmp_path / "none.ckpt")


def test_wrong_sizes_and_batches_are_one_line(colorizer):
    image = np.zeros((8, 8, 3), np.uint8)
    for size in (0, -5, 20_000):
        with pytest.raises(UsageError, match=f"size must be from 1 to 16384 pixels, not {size}"):
            colorizer.colorize(image, size)
    with pytest.raises(UsageError, match="batch_size must be at least 1, not 0"):
        list(colorizer.colorize_all([image], batch_size=0))


def test_a_model_is_saved_for_the_hub_and_loaded(trained, tmp_path, monkeypatch):
    *_, path = trained
    model = Colorizer.from_pretrained(path)
    model.set_decoding(strength=1.25)
    model.save_pretrained(tmp_path / "saved")
    assert sorted(file.name for file in (tmp_path / "saved").iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    config = json.loads((tmp_path / "saved/config.json").read_text())
    assert config == {"size": 32, "strength": 1.25, "flip": False}
    L = torch.rand(1, 1, 32, 32) * 100

    def download(repo_id, filename, **_):
        if repo_id != "someone/faces":
            raise FileNotFoundError("no such repository\nand more")
        return str(tmp_path / "saved" / filename)

    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", download)
    monkeypatch.setattr("lightning_colorize.inference.colorizer.hf_hub_download", download)
    for name in (tmp_path / "saved", str(tmp_path / "saved"), "someone/faces"):
        loaded = Colorizer.from_pretrained(name)
        torch.testing.assert_close(loaded.predict(L), model.predict(L), rtol=0, atol=0.5)
        assert loaded.decoding["strength"] == 1.25
    with pytest.raises(
        UsageError, match=r"^a/b is not a file, and is not on the Hub: no such repository$"
    ):
        Colorizer.from_pretrained("a/b")
