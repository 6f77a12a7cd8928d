from importlib import import_module
from pathlib import Path

import pytest

from lightning_colorize.common.arguments import Parser, number
from lightning_colorize.common.errors import UsageError


@pytest.mark.parametrize(
    ("name", "words", "names"),
    [
        ("evaluate", ["~/a", "--data=~/a", "--json=~/a"], ["checkpoint", "data", "json"]),
        ("colorize", ["~/a", "~/a"], ["input", "output"]),
        ("dashboard", ["--root=~/a"], ["root"]),
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


@pytest.mark.parametrize(
    ("kind", "range_", "text", "expected"),
    [
        (int, (1,), "0", "--n: 0 must be at least 1"),
        (int, (1,), "1.5", "invalid int value: '1.5'"),
        (int, (1, 100), "101", "--n: 101 must be from 1 to 100"),
        (int, (1, 100), "100", 100),
        (float, (0,), "nan", "--n: nan must be at least 0"),
        (float, (0,), "inf", "--n: inf must be from 0 to 9223372036854775807"),
        (int, (0,), 20 * "9", "--n: 9{20} must be from 0 to 9223372036854775807"),
    ],
)
def test_numbers_out_of_range_are_refused(kind, range_, text, expected):
    parser = Parser()
    parser.add_argument("--n", type=number(kind, *range_))
    if not isinstance(expected, str):
        assert parser.parse(["--n", text]).n == expected
        return
    with pytest.raises(UsageError, match=expected):
        parser.parse(["--n", text])


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["--noise", "0.5", "--dry"], {"noise": "0.5"}),
        (["--noise=-1", "--dry-run"], {"noise": "-1"}),
        (["--noisy", "--dry"], {"noisy": "true"}),
        (["--dry", "--noisy"], {"noisy": "true"}),
        (["--no-noisy", "--dry"], {"noisy": "false"}),
    ],
)
def test_other_options_are_settings(words, settings):
    parser = Parser()
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("path")
    parser.set_defaults(setting_names=())
    parser.takes_settings = True
    args = parser.parse(["a", *words])
    assert (args.path, args.dry_run, args.settings) == ("a", True, settings)
    assert parser.parse(["--", "--noise"]).path == "--noise"
