"""Prompts through a text encoder with random weights."""

import json

import pytest
import torch

from lightning_colorize.networks import ConditionedEncoder, ConvEncoder, TransformersText

transformers = pytest.importorskip("transformers")


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


def test_missing_encoder_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=f"text encoder {tmp_path}") as caught:
        TransformersText(str(tmp_path))
    assert "\n" not in str(caught.value)
