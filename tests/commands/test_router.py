import json
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference import load_model
from lightning_colorize.networks.router import Router
from tests.conftest import Commands, read_lines

DARK = ("--data.source", "FolderSource", "--data.source.include", "*dark/*")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on dark and bright images, and one that was fine-tuned from it on the dark ones."""
    root = tmp_path_factory.mktemp("categories")
    rng = np.random.default_rng(0)
    counts = {"train": 16, "val": 4, "test": 2}
    for (name, low), (split, count) in product({"dark": 10, "bright": 160}.items(), counts.items()):
        folder = root / split / name
        folder.mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(low, low + 90, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((40, 40)).save(folder / f"{i}.png")
    command = Commands(root, tmp_path_factory.mktemp("runs"))
    common = command.fit("common")
    dark = command.fit("dark", *DARK, "--model.checkpoint", common)
    return command, common, dark


@pytest.fixture
def routed(trained, tmp_path):
    command, common, dark = trained
    file = tmp_path / "routed.safetensors"
    assert command("router", common, file, f"dark={dark}", "--confidence", 0.6) == 0
    return file


def test_each_image_is_predicted_by_the_network_of_its_category(trained, routed, capsys):
    _, common, dark = trained
    model = load_model(routed)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(4, 1, 32, 32, generator=generator) * 20
    L = noise + torch.tensor([10.0, 75.0, 75.0, 10.0]).view(4, 1, 1, 1)
    with torch.inference_mode():
        assert model.model.choose(L) == ["dark", None, None, "dark"]
        predicted = model.predict(L)
        for path, which in ((dark, [0, 3]), (common, [1, 2])):
            alone = load_model(path).predict(L[which])
            assert torch.allclose(predicted[which], alone, atol=0.05)
    assert not torch.allclose(load_model(common).predict(L[:1]), predicted[:1], atol=0.05)


def test_an_image_and_its_mirror_are_predicted_by_one_network(trained, routed, monkeypatch):
    _, _, dark = trained
    model, alone = load_model(routed), load_model(dark)
    for each in (model, alone):
        each.set_decoding(flip=True)
    monkeypatch.setattr(
        model.model, "choose", lambda L: ["dark" if x[..., :16].mean() < 50 else None for x in L]
    )
    L = torch.linspace(0, 100, 32).expand(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(model.predict(L), alone.predict(L), atol=0.05)


def test_a_dark_corner_makes_no_dark_image(routed):
    L = torch.full((1, 1, 32, 32), 85.0)
    L[..., :8, :8] = 15
    assert load_model(routed).model.choose(torch.cat([L, 100 - L])) == [None, "dark"]


def test_all_networks_have_the_precision_and_the_choice_does_not_depend_on_it(routed):
    model = load_model(routed)
    L = torch.rand(2, 1, 32, 32) * 100
    features = model.model.features(L)
    model.set_precision("bf16-mixed")
    assert torch.equal(model.model.features(L), features)
    types = []
    for net in (model.model.network, model.model.specialists["dark"]):
        net.decoder.register_forward_hook(lambda module, inputs, output: types.append(output.dtype))
    model.predict(torch.tensor([15.0, 85.0]).view(2, 1, 1, 1).expand(2, 1, 32, 32))
    assert types == [torch.bfloat16] * 2


def test_the_card_counts_all_networks_and_has_no_figures_of_one(trained, routed):
    card = routed.with_name(f"{routed.name}.md").read_text()
    parameters = load_model(routed).model.parameters()
    assert f"{parameters:,} parameters" in card
    assert "psnr" not in card


def test_a_graph_of_several_networks_is_refused(routed, tmp_path, capsys):
    from lightning_colorize.cli import main

    assert main(["export", str(routed), str(tmp_path / "x.onnx")]) == 2
    assert "chooses a network for each image" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [{"named": ["bird"]}, {"categories": [["dark"], ["bright"]]}, {"confidence": [0.5]}]
)
def test_a_crafted_router_is_one_line(routed, monkeypatch, change):
    model = load_model(routed)
    described = model.model.hyperparameters() | change
    monkeypatch.setattr(model.model, "hyperparameters", lambda: described)
    model.export(routed)
    with pytest.raises(UsageError, match=r"routed\.safetensors does not fit"):
        load_model(routed)


def test_an_unsure_router_takes_the_common_network(routed):
    model = load_model(routed).model
    L = torch.rand(8, 1, 32, 32) * 20 + 10
    assert set(model.choose(L)) == {"dark"}
    model.confidence = 1.1
    assert set(model.choose(L)) == {None}


def test_the_file_is_evaluated_by_category_and_colors(trained, routed, tmp_path):
    command, _, _ = trained
    numbers = tmp_path / "numbers.json"
    words = ("--data", command.photos, "--group-by", "folder", "--json", numbers)
    assert command("evaluate", routed, *words) == 0
    assert set(json.loads(numbers.read_text())["groups"]) == {"dark", "bright"}
    out = tmp_path / "colored"
    assert command("colorize", command.photos / "train/dark", out, "--checkpoint", routed) == 0
    records = read_lines(out / "manifest.jsonl")
    assert [(record["status"], record["specialist"]) for record in records] == [("ok", "dark")] * 16


def test_what_is_recognized_is_printed(trained, tmp_path, capsys, monkeypatch):
    command, common, dark = trained
    fit, fitted = Router.fit, []
    monkeypatch.setattr(Router, "fit", lambda *given: (fitted.append(given[2]), fit(*given)))
    assert command("router", common, tmp_path / "x.safetensors", f"dark={dark}") == 0
    bright, known, _ = capsys.readouterr().out.splitlines()[-3:]
    assert bright.startswith("bright: of 4 validation images, 100% recognized")
    assert bright.endswith("(no specialist)")
    assert known.startswith("dark: of 4 validation images, 100% recognized")
    assert fitted[0].bincount().tolist() == [16, 16]  # the training images


def test_a_specialist_is_fine_tuned_from_the_checkpoint_whose_decoding_stays(
    trained, tmp_path, capsys
):
    command, _, dark = trained
    file = tmp_path / "routed.safetensors"
    options = ("--trainer.max_epochs", 1, "--run.grid_images", 0)
    words = ("--model.loss", "lightning_colorize.losses.CrossEntropy", *options)
    common = command.fit("classes", *words, "--model.ema_decay", 0.5)
    more = ("--model.ema_decay", 0.5, "--model.checkpoint", common, "--trainer.max_steps", 1)
    tuned = command.fit("tuned", *words, *more, "--model.optimizer.lr", 0)
    same = (load_model(run).model.network.parameters() for run in (common, tuned))
    assert all(map(torch.equal, *same))
    settings = ("--vividness", 0.1, "--temperature", 0.9, "--strength", 1.2)
    assert command("router", common, file, f"dark={tuned}", *settings) == 0
    decoding = load_model(file).decoding
    assert decoding == {"vividness": 0.1, "temperature": 0.9, "strength": 1.2, "flip": False}
    other_bins = command.fit("other_bins", *words, *DARK)
    for other, reason in (
        (other_bins, f"fine-tune it with --model.checkpoint {common}"),
        (dark, "a different network"),
    ):
        assert command("router", common, tmp_path / "x.safetensors", f"dark={other}") == 2
        assert reason in capsys.readouterr().err
