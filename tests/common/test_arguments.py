import argparse
from importlib import import_module
from pathlib import Path

import pytest

from lightning_colorize.common.arguments import Parser, require_positive
from lightning_colorize.common.errors import UsageError


@pytest.mark.parametrize(
    ("name", "words", "names"),
    [
        ("evaluate", ["~/a", "--data=~/a", "--json=~/a"], ["checkpoint", "data", "json"]),
        ("colorize", ["~/a", "~/a"], ["input", "output"]),
        ("runs", ["list", "--root=~/a", "--json=~/a"], ["root", "json"]),
        ("dashboard", ["--root=~/a"], ["root"]),
        ("bench", ["--data=~/a", "--json=~/a"], ["data", "json"]),
        ("init", ["~/a"], ["dir"]),
    ],
)
def test_home_folders_are_expanded_in_every_path(monkeypatch, name, words, names):
    monkeypatch.setenv("HOME", "/people/one")
    parser = Parser()
    import_module(f"lightning_colorize.commands.{name}").add_arguments(parser)
    args = parser.parse_args(words)
    for argument in names:
        value = getattr(args, argument)
        assert value in (Path("/people/one/a"), [Path("/people/one/a")])


@pytest.mark.parametrize("value", [0, -3, -0.5])
def test_numbers_that_are_not_above_0_are_refused(value):
    args = argparse.Namespace(batch_size=value, size=None)
    require_positive(args, "size")
    with pytest.raises(UsageError, match=f"--batch-size {value}: it must be above 0"):
        require_positive(args, "size", "batch_size")
