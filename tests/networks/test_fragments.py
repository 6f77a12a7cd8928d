"""The fragments of experiments/ against the signatures."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

import jsonargparse
import pytest
import yaml

from lightning_colorize.networks import Decoder, Discriminator, Encoder, FeatureInfo

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
ENCODERS = sorted((EXPERIMENTS / "encoder").glob("*.yaml"))
DECODERS = sorted((EXPERIMENTS / "decoder").glob("*.yaml"))
DISCRIMINATORS = sorted((EXPERIMENTS / "discriminator").glob("*.yaml"))


def test_there_are_fragments():
    assert len(ENCODERS) >= 6
    assert len(DECODERS) >= 3
    assert len(DISCRIMINATORS) >= 3


@pytest.mark.parametrize("path", ENCODERS + DECODERS + DISCRIMINATORS, ids=lambda path: path.stem)
def test_every_argument_is_given_and_commented(path):
    """A fragment that leaves one out would keep the value of the class it replaces."""
    fragment = yaml.safe_load(path.read_text())
    module, name = fragment["class_path"].rsplit(".", 1)
    signature = inspect.signature(getattr(importlib.import_module(module), name))
    assert set(fragment["init_args"]) == set(signature.parameters) - {"info"}
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert all(" # " in line for line in lines if line.startswith("  "))


def instantiate(parser, config):
    return parser.instantiate(config)


@pytest.mark.parametrize("path", ENCODERS, ids=lambda path: path.stem)
def test_encoder_builds_through_jsonargparse(path):
    fragment = yaml.safe_load(path.read_text())
    for key in {"pretrained", "frozen"} & set(fragment["init_args"]):
        fragment["init_args"][key] = False  # nothing is fetched here
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--encoder", type=Encoder)
    built = instantiate(parser, parser.parse_object({"encoder": fragment}))
    assert isinstance(built.encoder, Encoder)


@pytest.mark.parametrize("path", DECODERS, ids=lambda path: path.stem)
def test_decoder_builds_through_jsonargparse(path):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--decoder", type=Callable[[FeatureInfo], Decoder])
    fragment = yaml.safe_load(path.read_text())
    built = instantiate(parser, parser.parse_object({"decoder": fragment}))
    assert isinstance(built.decoder(FeatureInfo((8, 16), (2, 4))), Decoder)


@pytest.mark.parametrize("path", DISCRIMINATORS, ids=lambda path: path.stem)
def test_discriminator_builds_through_jsonargparse(path):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--discriminator", type=Discriminator)
    fragment = yaml.safe_load(path.read_text())
    built = instantiate(parser, parser.parse_object({"discriminator": fragment}))
    assert isinstance(built.discriminator, Discriminator)
