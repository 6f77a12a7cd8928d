import shutil

import pytest

from lightning_colorize.commands import init
from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError

FILES = {"experiments/base.yaml": "a: 1\n", "experiments/loss/l1.yaml": "b\n", "sweeps/q.yaml": "c"}


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def read(root):
    files = [file for file in root.rglob("*") if file.is_file()]
    return {str(file.relative_to(root)): file.read_text() for file in files}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Return a function that copies a package with FILES to the folder `mine`."""
    write(tmp_path / "package", FILES)
    monkeypatch.setattr(init, "bundled", lambda name: tmp_path / "package" / name)
    parser = Parser()
    init.add_arguments(parser)
    return lambda *words: init.run(parser.parse_args([str(tmp_path / "mine"), *words]))


def test_copies_everything_and_prints_the_next_commands(copy, tmp_path, capsys):
    assert copy() == 0
    assert read(tmp_path / "mine") == FILES
    out = capsys.readouterr().out
    assert f"cd {tmp_path / 'mine'}\n" in out
    assert "fit --config experiments/quickstart.yaml" in out
    # Unchanged files may be copied again.
    write(tmp_path / "mine", {"sweeps/own.yaml": "d"})
    assert copy() == 0
    assert read(tmp_path / "mine") == FILES | {"sweeps/own.yaml": "d"}


def test_changed_files_are_not_overwritten(copy, tmp_path, capsys):
    changed = {"experiments/base.yaml": "a: mine\n"}
    write(tmp_path / "mine", changed)
    with pytest.raises(UsageError, match=r"base\.yaml already exists"):
        copy()
    assert read(tmp_path / "mine") == changed
    assert copy("--force") == 0
    assert read(tmp_path / "mine") == FILES
    assert f"replaced {tmp_path / 'mine/experiments/base.yaml'}\n" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_wrong_use(copy, tmp_path):
    shutil.copytree(tmp_path / "package", tmp_path / "mine")
    shutil.rmtree(tmp_path / "mine/experiments")
    (tmp_path / "mine/experiments").touch()
    with pytest.raises(UsageError, match="cannot be written: "):
        copy()


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
