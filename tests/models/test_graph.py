"""Exported graphs: ONNX files and programs of torch.export."""

from copy import copy
from functools import cache, partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lightning_colorize.color import NO_CONDITION, Condition
from lightning_colorize.common.errors import UsageError
from lightning_colorize.evaluation import find_images
from lightning_colorize.inference import Colorizer, export, load_model
from lightning_colorize.inference.export import export_graph
from lightning_colorize.losses import L1, CrossEntropy
from lightning_colorize.models.graph import run_onnx
from lightning_colorize.networks import ConditionedEncoder, ConvEncoder, Denoiser, UpsampleDecoder
from lightning_colorize.tasks import GenerativeTask, RegressionTask

ALLOW = ["torch.export"]

pytestmark = pytest.mark.slow  # torch's and ONNX's exporters


def acting(task, size=48):
    """Return the model of a task, whose weights all act."""
    with torch.no_grad():
        for parameter in task.net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model = task.eval().to_model()
    model.size = size
    return model


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """Each network is traced once for all its files: this takes most of the time of an export."""
    traced, trace, around = {}, export._trace_network, export._around

    def trace_network(graph):
        key = (graph.model, *graph.inputs)
        return traced[key] if key in traced else traced.setdefault(key, trace(graph))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "_trace_network", trace_network)
        patch.setattr(export, "_around", cache(around))
        yield


@pytest.fixture(scope="module")
def model():
    """A classification with skips, whose decoding is not the default one."""
    torch.manual_seed(0)
    decoder = partial(UpsampleDecoder, widths=[8, 8], skips=True)
    encoder = ConvEncoder(widths=[8, 16, 16], convs=1)
    model = Colorizer(acting(RegressionTask(encoder, CrossEntropy(), decoder), size=32))
    model.set_decoding(vividness=0.25, strength=1.4, flip=True)
    return model


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """Each kind of graph."""
    folder = tmp_path_factory.mktemp("graphs")
    kinds = {"network.onnx": False, "network.pt2": False, "image.onnx": True}
    for name, image in kinds.items():
        export_graph(model.model, folder / name, image)
    return folder


@pytest.mark.parametrize("name", ["network.onnx", "network.pt2", "image.onnx"])
def test_a_graph_predicts_what_its_network_does(model, files, name):
    graph = load_model(files / name, ALLOW)
    assert graph.size == model.size
    for shape in ((1, 1, 33, 65), (3, 1, 241, 187), (2, 1, 64, 32), (1, 1, 1, 1)):
        L = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 100
        ab = graph.predict(L)
        if name.endswith(".pt2") and shape[-1] == 1:
            assert tuple(ab.shape) == (1, 2, 1, 1)  # of a padded image
        else:
            assert (ab - model.predict(L)).abs().max() < 1e-3
    assert graph.decoding == {"strength": 1, "flip": False}
    with pytest.raises(UsageError, match="no setting vividness"):
        graph.set_decoding(vividness=1)


def test_a_whole_image_is_colored_as_by_colorize(model, files):
    rng = np.random.default_rng(0)
    run, _ = run_onnx(files / "image.onnx")
    for size in ((32, 32), (45, 231), (200, 131), (20, 23)):
        small, noise = (rng.integers(0, 256, (*s, 3), dtype=np.uint8) for s in ((7, 9), size))
        smooth = np.array(Image.fromarray(small).resize(size[::-1]))
        rgb = torch.from_numpy(smooth // 2 + noise // 2).permute(2, 0, 1)
        colored = run(rgb[None].contiguous())[0]
        difference = (colored.int() - model.colorize(rgb).int()).abs().amax(0)
        assert (difference <= 1).float().mean() >= 0.999
        assert colored.float().std(0).mean() > 1  # in color


def test_a_program_is_read_only_where_it_is_allowed(files):
    with pytest.raises(UsageError, match=r"--allow-class torch\.export"):
        load_model(files / "network.pt2")


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_damaged_and_foreign_files_are_one_line(files, tmp_path, suffix):
    whole = (files / f"network{suffix}").read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        file = tmp_path / f"file{suffix}"
        file.write_bytes(content)
        with pytest.raises(UsageError, match="is damaged, or not exported by"):
            load_model(file, ALLOW)
    with pytest.raises(UsageError, match="does not exist"):
        load_model(tmp_path / f"none{suffix}", ALLOW)


def test_a_program_for_larger_images_than_the_network_sees_is_not_written(model, tmp_path):
    seen = copy(model.model)
    seen.size = seen.multiple
    with pytest.raises(UsageError, match=rf"refuse images of {seen.size} pixels.* --size"):
        export_graph(seen, tmp_path / "large.pt2")


@pytest.mark.parametrize("name", ["network.onnx", "image.onnx"])
def test_eight_bits_are_small_and_close(model, files, photo_folder, tmp_path, monkeypatch, name):
    image = name == "image.onnx"
    images = list(find_images(photo_folder, "all").batches(model.size, 1, torch.device("cpu")))
    small = tmp_path / "small.onnx"
    (row,) = export_graph(model.model, small, image, images).values()
    assert f"on {len(images) // 2} images" in row["difference from the network"]
    assert image or small.stat().st_size < (files / name).stat().st_size
    assert b"DequantizeLinear" in small.read_bytes()
    L = images[0].L
    assert (load_model(small).predict(L) - model.predict(L)).abs().mean() < 3
    if image:
        return  # the rest is alike
    monkeypatch.setattr(export, "INT8_COST", -1000)
    with pytest.raises(UsageError, match="8 bits cost too much, CIEDE2000"):
        export_graph(model.model, tmp_path / "costly.onnx", image, images)
    with pytest.raises(UsageError, match="two or more color images"):
        export_graph(model.model, tmp_path / "none.onnx", image, images[:1])
    assert list(tmp_path.iterdir()) == [small]


def test_a_graph_follows_conditions_as_its_network_does(tmp_path):
    torch.manual_seed(0)
    encoder = ConditionedEncoder(ConvEncoder(widths=[4, 8], convs=1), labels=2)
    encoder.set_label_names(["cat", "dog"])
    model = acting(RegressionTask(encoder, L1()))
    for name in ("conditioned.onnx", "conditioned.pt2"):
        export_graph(model, tmp_path / name)
        graph = load_model(tmp_path / name, ALLOW).model
        assert (graph.conditions, list(graph.label_names)) == (model.conditions, ["cat", "dog"])
        for batch, height, width in ((1, 33, 65), (3, 150, 48)):
            L, ab = torch.rand(batch, 3, height, width).split([1, 2], 1)
            palettes, labels = torch.rand(batch, 5, 3), torch.tensor([1, -1, 0])[:batch]
            painted = (L > 0.95).float()
            given = Condition(labels, None, torch.cat([ab * 80 * painted, painted], 1), palettes)
            expected = model.color(L * 100, given)
            assert (expected - model.color(L * 100)).abs().max() > 0.1
            for condition in (given, NO_CONDITION):
                difference = graph.color(L * 100, condition) - model.color(L * 100, condition)
                assert difference.abs().max() < 0.02


def test_encoder_and_denoiser_sample_what_their_network_does(tmp_path):
    denoiser = partial(Denoiser, width=8, blocks=(1, 1, 1))
    task = GenerativeTask(ConvEncoder(widths=[4, 8], convs=1), denoiser=denoiser, ema_decay=None)
    model = acting(task)
    files = list(export_graph(model, tmp_path / "sampler.onnx"))
    assert [file.name for file in files] == ["sampler.encoder.onnx", "sampler.denoiser.onnx"]
    L = torch.rand(2, 1, 36, 70) * 100
    expected = model.color(L, NO_CONDITION, model.settings.updated({"steps": 3}))[0]
    encode, denoise = (run_onnx(file)[0] for file in files)
    context, mean, spread = encode(L)
    x = torch.stack([torch.randn(mean.shape[1:], generator=g) for g in model.generators(L)])
    for step in range(3):
        x = x + denoise(x, torch.full((2,), step / 3), context) / 3
    ab = F.interpolate(mean + spread * x, scale_factor=4, mode="bilinear")
    assert (ab[..., :36, :70] - expected).abs().max() < 1e-2
    with pytest.raises(UsageError, match="part of a network that samples"):
        load_model(files[0])
    with pytest.raises(UsageError, match="no graph of whole images"):
        export_graph(model, tmp_path / "image.onnx", image=True)


def test_a_graph_is_not_exported_again(files, tmp_path):
    graph = load_model(files / "network.onnx")
    exports = {".safetensors": graph.export, ".onnx": partial(export_graph, graph.model)}
    for suffix, write in exports.items():
        with pytest.raises(UsageError, match="is not a network of lightning-colorize"):
            write(tmp_path / f"again{suffix}")
