import json

import pytest

from lightning_colorize.cli import main
from tests.conftest import write_images


@pytest.fixture
def photos(tmp_path):
    write_images(tmp_path / "photos" / "train", 4)
    write_images(tmp_path / "photos" / "val", 2, first=10)
    return tmp_path / "photos"


def run(*words):
    return main(["pack", *map(str, words)])


def test_a_folder_becomes_shards(photos, tmp_path, capsys):
    target = tmp_path / "shards"
    words = (photos, target, "--size", 32, "--images-per-shard", 2, "--workers", 1)
    for reused in ("", ", 3 of them reused"):
        assert run(*words) == 0
        printed = f"4 train, 2 val images in 3 shards (0.0 MB{reused}) -> {target}\n"
        assert capsys.readouterr().out == printed
    settings = {"size": 32, "encoding": "jpeg", "quality": 95, "images_per_shard": 2}
    assert settings.items() <= json.loads((target / "pack.json").read_text())["plan"].items()
    assert not (target / ".packing").exists()


def test_options_reach_the_pack(photos, tmp_path):
    (tmp_path / "out.txt").write_text("train/000.png\n")
    words = ("--encoding", "uint8", "--exclude-list", tmp_path / "out.txt", "--workers", 1)
    assert run(photos, tmp_path / "shards", *words) == 0
    manifest = json.loads((tmp_path / "shards" / "pack.json").read_text())
    assert (manifest["plan"]["encoding"], manifest["plan"]["size"]) == ("uint8", 256)
    assert [len(tar["images"]["names"]) for tar in manifest["tars"]] == [3, 2]
    low, high = tmp_path / "low", tmp_path / "high"
    assert run(photos, low, "--quality", 5, "--workers", 1) == 0
    assert run(photos, high, "--quality", 100, "--workers", 1) == 0
    tars = [json.loads((folder / "pack.json").read_text())["tars"][0] for folder in (low, high)]
    lengths = [sum(tar["images"]["sizes"]) for tar in tars]
    assert lengths[0] < lengths[1] / 2


def test_broken_images_are_exit_1_until_they_are_repaired(photos, tmp_path, capsys):
    target = tmp_path / "shards"
    readable = (photos / "train" / "000.png").read_bytes()
    (photos / "train" / "000.png").write_bytes(b"x")
    for reused in ("MB) ->", "MB, 1 of them reused)"):
        assert run(photos, target, "--workers", 1) == 1
        output = capsys.readouterr()
        assert "3 train, 2 val images" in output.out
        assert reused in output.out
        assert f"1 broken image left out, listed in {target}/broken.txt" in output.err
    (photos / "train" / "000.png").write_bytes(readable)
    assert run(photos, target, "--workers", 1) == 0
    output = capsys.readouterr().out
    assert "4 train, 2 val images in 2 shards" in output
    assert "MB, 1 of them reused)" in output
    assert not (target / "broken.txt").exists()
