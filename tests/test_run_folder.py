import json
import os
import subprocess
import sys

import pytest

from lightning_colorize import run_folder
from lightning_colorize.errors import UsageError


def _run(root, name, **files):
    folder = root / name
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file.replace("_", ".")).write_text(text)
    return folder


def test_imports_neither_torch_nor_lightning():
    code = "import lightning_colorize.run_folder, sys; print(sorted(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "'json'" in modules
    for heavy in ("torch", "pytorch_lightning", "numpy", "yaml"):
        assert f"'{heavy}'" not in modules


def test_runs_are_the_folders_two_levels_down_with_a_config_or_a_result(tmp_path):
    second = _run(tmp_path, "b/second", config_yaml="a: 1")
    first = _run(tmp_path, "a/first", result_json="{}")
    _run(tmp_path, "a/empty")
    _run(tmp_path, "a/first/deeper", config_yaml="a: 1")
    (tmp_path / "a" / "file").write_text("")
    assert run_folder.find_runs(tmp_path) == [first, second]


def test_a_missing_root_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        run_folder.find_runs(tmp_path / "nowhere")


def test_result(tmp_path):
    assert run_folder.read_result(tmp_path) is None
    (tmp_path / "result.json").write_text(json.dumps({"status": "finished"}))
    assert run_folder.read_result(tmp_path) == {"status": "finished"}


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_broken_result_is_named(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UsageError, match=r"result\.json"):
        run_folder.read_result(tmp_path)


def test_config(tmp_path):
    assert run_folder.read_config(tmp_path) == {}
    (tmp_path / "config.yaml").write_text("model:\n  lr: 0.1\n  loss: null\n")
    assert run_folder.read_config(tmp_path) == {"model": {"lr": 0.1, "loss": None}}


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_a_broken_config_is_named(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"config\.yaml"):
        run_folder.read_config(tmp_path)


def test_flatten_keeps_every_value():
    nested = {"a": {"b": {"c": [1, {"d": 2}], "e": None}, "f": {}}, "g": len, "h": False}
    assert run_folder.flatten(nested) == {
        "a.b.c": [1, {"d": 2}],
        "a.b.e": None,
        "a.f": {},
        "g": len,
        "h": False,
    }


def test_checkpoint_of_prefers_the_best(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(UsageError, match="neither"):
        run_folder.checkpoint_of(tmp_path)
    (folder / "last.ckpt").touch()
    assert run_folder.checkpoint_of(tmp_path) == folder / "last.ckpt"
    (folder / "best.ckpt").touch()
    assert run_folder.checkpoint_of(tmp_path) == folder / "best.ckpt"
    assert run_folder.checkpoint_of(folder / "last.ckpt") == folder / "last.ckpt"
    with pytest.raises(UsageError, match="does not exist"):
        run_folder.checkpoint_of(tmp_path / "nowhere")


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "deeper" / "file.txt"
    run_folder.write_atomic(path, "first\n")
    assert path.read_bytes() == b"first\n"

    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        run_folder.write_atomic(path, "second\n")
    assert path.read_text() == "first\n"
    assert os.listdir(path.parent) == ["file.txt"]


def test_the_longest_file_name_can_be_written(tmp_path):
    path = tmp_path / ("a" * 250 + ".json")
    run_folder.write_atomic(path, "text")
    assert path.read_text() == "text"


def test_what_cannot_be_written_is_refused_before_it_is(tmp_path):
    run_folder.require_writable(tmp_path / "new" / "a.json", "--json")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    for path, reason in [
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "a.json", "cannot be written: "),
        (tmp_path / ("a" * 256), "cannot be written: File name too long"),
    ]:
        with pytest.raises(UsageError) as caught:
            run_folder.require_writable(path, "--json")
        assert str(caught.value).startswith(f"--json {path} {reason}")


def test_a_written_file_has_the_usual_permissions(tmp_path):
    run_folder.write_atomic(tmp_path / "atomic", "")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("name", "goal"),
    [("val/psnr", "max"), ("ciede2000", "min"), ("test/mse_ab", "min"), ("val/colorfulness", None)],
)
def test_metric_goal(name, goal):
    assert run_folder.metric_goal(name) == goal
