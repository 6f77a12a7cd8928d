import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs import folder as run_folder


def _run(root, name, **files):
    folder = root / name
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file.replace("_", ".")).write_text(text)
    return folder


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


def test_a_checkpoint_that_cannot_be_looked_for_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match=r"x cannot be read: File name too long$"):
        run_folder.checkpoint_of(tmp_path / (300 * "x"))


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
    with pytest.raises(UsageError, match="does not exist"):
        run_folder.checkpoint_of(tmp_path / "nowhere")
