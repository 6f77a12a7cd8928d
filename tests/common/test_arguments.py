import argparse
from importlib import import_module
from pathlib import Path

import pytest

from lightning_colorize.common.arguments import Parser, require_positive
from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.messages import given


@pytest.mark.parametrize(
    ("name", "words", "names"),
    [
        ("evaluate", ["~/a", "--data=~/a", "--json=~/a"], ["checkpoint", "data", "json"]),
        ("colorize", ["~/a", "~/a", "--checkpoint=~/a"], ["input", "output", "checkpoint"]),
        ("runs", ["list", "--root=~/a", "--json=~/a"], ["root", "json"]),
        ("dashboard", ["--root=~/a"], ["root"]),
        ("bench", ["--data=~/a", "--json=~/a"], ["data", "json"]),
        ("init", ["~/a"], ["dir"]),
    ],
)
def test_every_path_has_its_home_folder(monkeypatch, name, words, names):
    monkeypatch.setenv("HOME", "/people/one")
    parser = Parser()
    import_module(f"lightning_colorize.commands.{name}").add_arguments(parser)
    args = parser.parse_args(words)
    for argument in names:
        assert getattr(args, argument) == Path("/people/one/a")


def test_a_home_folder_of_nobody_stays_as_it_is():
    parser = Parser()
    import_module("lightning_colorize.commands.init").add_arguments(parser)
    assert parser.parse_args(["~nobody-of-that-name/a"]).dir == Path("~nobody-of-that-name/a")


def test_configuration_files_are_found_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("data: {size: 8}")
    place = given(["--config=~/mine.yaml"])["data.size"].place
    assert place == f"data.size in {tmp_path}/mine.yaml"


@pytest.mark.parametrize("value", [0, -3, -0.5])
def test_numbers_that_are_not_above_0_are_refused(value):
    args = argparse.Namespace(batch_size=value, size=None)
    require_positive(args, "size")
    with pytest.raises(UsageError, match=f"--batch-size {value}: it must be above 0"):
        require_positive(args, "size", "batch_size")
