import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs import folder as run_folder


def test_runs_are_the_folders_two_levels_down_with_a_config_or_a_result(tmp_path):
    for name in ("b/second/config.yaml", "a/first/result.json", "a/first/deeper/config.yaml"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "a/empty").mkdir()
    (tmp_path / "a/file").touch()
    assert run_folder.find_runs(tmp_path) == [tmp_path / "a/first", tmp_path / "b/second"]
    with pytest.raises(UsageError, match="nowhere"):
        run_folder.find_runs(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_a_broken_config_is_named(tmp_path, text):
    assert run_folder.read_config(tmp_path) == {}
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"config\.yaml"):
        run_folder.read_config(tmp_path)


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path):
    (tmp_path / run_folder.LOCK).mkdir()
    with pytest.raises(UsageError, match="cannot be written to: Is a directory"):
        run_folder.lock(tmp_path)


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
    with pytest.raises(UsageError, match="contains neither"):
        run_folder.checkpoint_of(tmp_path)
    (folder / "last.ckpt").touch()
    assert run_folder.checkpoint_of(tmp_path) == folder / "last.ckpt"
    (folder / "best.ckpt").touch()
    assert run_folder.checkpoint_of(tmp_path) == folder / "best.ckpt"
    assert run_folder.checkpoint_of(folder / "last.ckpt") == folder / "last.ckpt"
    for name, fault in (("nowhere", "does not exist"), (300 * "x", "File name too long$")):
        with pytest.raises(UsageError, match=fault):
            run_folder.checkpoint_of(tmp_path / name)
