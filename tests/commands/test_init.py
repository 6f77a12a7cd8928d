import argparse

import pytest

from lightning_colorize.commands import init
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """Stand-ins for the packaged folders."""
    root = tmp_path / "packaged"
    (root / "experiments" / "loss").mkdir(parents=True)
    (root / "experiments" / "base.yaml").write_text("a: 1\n")
    (root / "experiments" / "loss" / "l1.yaml").write_text("b: 2\n")
    (root / "sweeps").mkdir()
    (root / "sweeps" / "quick.yaml").write_text("c: 3\n")
    monkeypatch.setattr(init, "bundled", lambda name: root / name)
    return root


def _init(*words):
    parser = argparse.ArgumentParser()
    init.add_arguments(parser)
    return init.run(parser.parse_args(list(map(str, words))))


def _files(folder):
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_copies_everything_and_prints_the_next_commands(packaged, tmp_path, capsys):
    assert _init(tmp_path / "mine") == 0
    assert _files(tmp_path / "mine") == _files(packaged)
    out = capsys.readouterr().out
    assert f"cd {tmp_path / 'mine'}\n" in out
    assert "fit --config experiments/quickstart.yaml" in out


def test_unchanged_files_may_be_copied_again(packaged, tmp_path):
    assert _init(tmp_path / "mine") == 0
    (tmp_path / "mine" / "sweeps" / "own.yaml").write_text("d: 4\n")
    assert _init(tmp_path / "mine") == 0
    assert _files(tmp_path / "mine") == _files(packaged) | {"sweeps/own.yaml": "d: 4\n"}


def test_changed_files_are_not_overwritten(packaged, tmp_path, capsys):
    changed = tmp_path / "mine" / "experiments" / "base.yaml"
    changed.parent.mkdir(parents=True)
    changed.write_text("a: mine\n")
    with pytest.raises(UsageError, match=r"base\.yaml already exists"):
        _init(tmp_path / "mine")
    assert _files(tmp_path / "mine") == {"experiments/base.yaml": "a: mine\n"}
    assert _init(tmp_path / "mine", "--force") == 0
    assert _files(tmp_path / "mine") == _files(packaged)
    assert f"replaced {changed}\n" in capsys.readouterr().out


def test_a_file_instead_of_a_folder_is_wrong_use(packaged, tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        _init(tmp_path / "mine")


def test_a_folder_that_cannot_be_written_is_wrong_use(packaged, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        _init(tmp_path / "file" / "mine")


def test_the_real_folders_are_found():
    assert (bundled("experiments").name, bundled("sweeps").name) == ("experiments", "sweeps")
    with pytest.raises(FileNotFoundError, match="lacks its nonsense/"):
        bundled("nonsense")


def test_an_installed_wheel_contains_the_folders(tmp_path, monkeypatch):
    inside = tmp_path / "package" / "_bundled" / "sweeps"
    inside.mkdir(parents=True)
    (tmp_path / "sweeps").mkdir()  # of another installed package
    monkeypatch.setattr("lightning_colorize.common.bundled._PACKAGE", tmp_path / "package")
    assert bundled("sweeps") == inside
