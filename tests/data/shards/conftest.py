"""Packs of the small images, and helpers that read and damage them."""

import shutil

import pytest

from lightning_colorize.data.shards.packing import pack
from lightning_colorize.data.shards.plan import make_plan, pack_settings
from lightning_colorize.data.sources import FolderSource


def plan_of(folder, size=32, encoding="jpeg", each=3):
    """The plan of a pack, by default with three images a shard."""
    splits = FolderSource().splits(folder)
    return make_plan(folder, splits, pack_settings(size, encoding, 95, each))


def pack_folder(folder, target, size=32, encoding="jpeg", each=3, workers=0):
    return pack(plan_of(folder, size, encoding, each), target, workers)


def files(folder):
    """Content of every file below a folder, by relative name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def flip_byte(path, position=-5):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="session")
def packed(photo_folder, tmp_path_factory):
    """The twenty images in shards of three, as JPEG; read only."""
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
