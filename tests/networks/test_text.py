"""Prompts through a text encoder with random weights."""

import json
from pathlib import Path

import pytest
import torch

from lightning_colorize.cli import main
from lightning_colorize.data.decoding.files import read_image
from lightning_colorize.inference import load_model
from lightning_colorize.networks import ConditionedEncoder, ConvEncoder, TransformersText
from tests.conftest import write_images

transformers = pytest.importorskip("transformers")

FLOW_TEXT = Path(__file__).parents[2] / "experiments/flow_text.yaml"


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory):
    """The folder of a tiny CLIP text encoder; read only."""
    folder = tmp_path_factory.mktemp("clip")
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=len(words), hidden_size=8, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=16,
        bos_token_id=len(words) - 2, eos_token_id=len(words) - 1,
    )  # fmt: skip
    transformers.CLIPTextModel(config).save_pretrained(folder)
    return folder


def test_texts_are_encoded_once_and_differ(text_encoder):
    encoder = TransformersText(str(text_encoder))
    assert encoder.width == 8
    red, blue, again = encoder(["a red car", "a blue car", "a red car"])
    assert red.shape == (8,)
    assert torch.equal(red, again)
    assert (red - blue).abs().max() > 1e-3
    assert encoder(["long " * 50]).isfinite().all()
    encoder.model = None  # not used again
    assert torch.equal(encoder(["a red car"])[0], red)


def test_checkpoints_do_not_contain_it(text_encoder):
    encoder = ConditionedEncoder(
        ConvEncoder(widths=[4]),
        hints=False,
        palette=False,
        text=TransformersText(str(text_encoder)),
    )
    assert encoder.conditions == {"prompt"}
    assert not [name for name in encoder.state_dict() if "embeddings" in name]


def test_code_of_a_text_encoder_is_not_run(tmp_path, capsys):
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("print('executed')\nclass Config: pass\n")
    with pytest.raises(ValueError, match="contains custom code"):
        TransformersText(str(tmp_path))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.slow
def test_prompts_from_training_to_colors(text_encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path, 6)
    files = sorted(tmp_path.glob("*.png"))
    rows = [f"{f.name},{'val' if i < 2 else 'train'},a red car" for i, f in enumerate(files)]
    (tmp_path / "list.csv").write_text("\n".join(["path,split,text", *rows]))
    words = ["--data.root", "list.csv", "--data.size", "64", "--data.batch_size", "2"]
    words += ["--model.encoder.text.name", str(text_encoder), "--run.name", "a"]
    words += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    words += ["--data.num_workers", "0", "--run.loggers.wandb", "disabled"]
    assert main(["fit", "--config", str(FLOW_TEXT), *words]) == 0
    words = ["colorize", str(files[0]), "red.png", "--checkpoint", "runs/flow_text/a"]
    assert main([*words, "--variety", "0", "--prompt", "a red car"]) == 0
    colorizer, image = load_model("runs/flow_text/a"), read_image(files[0])
    colorizer.set_decoding(variety=0)
    red, blue, none = (colorizer.colorize(image, prompt=p) for p in ("a red car", "blue", None))
    assert torch.equal(read_image(Path("red.png")), red)
    assert not torch.equal(red, blue)
    assert not torch.equal(red, none)
