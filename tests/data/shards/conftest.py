"""Packs of the small images, and helpers that read and damage them."""

import shutil

import pytest

from lightning_colorize.data.shards.packing import PackSettings, pack
from lightning_colorize.data.sources import FolderSource, WebDatasetSource


def pack_folder(folder, target, size=32, encoding="jpeg", each=3, workers=0):
    """Pack, by default three images a tar; return the tars and how many existed."""
    settings = PackSettings(size, encoding, images_per_shard=each)
    return pack(folder, FolderSource().splits(folder), settings, target, workers)


def files(folder):
    """Content of every file below a folder, by relative name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def flip_byte(path, position=-20_000):
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1
    path.write_bytes(content)


def train(folder, **options):
    return WebDatasetSource(**options).splits(folder)["train"]


@pytest.fixture(scope="session")
def packed(photo_folder, tmp_path_factory):
    """The twenty images in tars of three, as JPEG; read only."""
    target = tmp_path_factory.mktemp("packed") / "shards"
    pack_folder(photo_folder, target)
    return target


@pytest.fixture(scope="session")
def packed_uint8(photo_folder, tmp_path_factory):
    """The same, decoded."""
    target = tmp_path_factory.mktemp("packed") / "shards"
    pack_folder(photo_folder, target, encoding="uint8")
    return target


@pytest.fixture
def own_pack(packed, tmp_path):
    """A copy of the JPEGs, to be damaged."""
    return shutil.copytree(packed, tmp_path / "own")
