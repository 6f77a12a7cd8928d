"""Help, errors and exit codes; single commands have their own tests."""

import errno
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from lightning_colorize import __version__, cli
from lightning_colorize.commands.fit import common_options
from lightning_colorize.common.errors import UsageError, WorkError


@pytest.fixture
def command(monkeypatch):
    """A fake in place of all commands, which returns its option, or raises an error."""

    def run(args):
        if command.error is not None:
            raise command.error
        return args.number

    def add_arguments(parser):
        parser.add_argument("--number", type=int)

    command = SimpleNamespace(HELP="it", add_arguments=add_arguments, run=run, error=None)
    monkeypatch.setattr(cli, "import_module", lambda name: command)
    return command


def test_the_help_names_every_command(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in out
    assert cli.main([]) == 2
    assert capsys.readouterr().out == out
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lightning-colorize {__version__}\n"


def test_closed_streams_are_replaced(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["--version"]) == 0
    assert not sys.stdout.isatty()
    sys.stdout.close()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("no such thing; give another"), 2, "lightning-colorize: no such thing; give"),
        (WorkError("odd \x1b[2J name"), 1, "lightning-colorize: odd \\x1b[2J name\n"),
        (PermissionError(13, "Denied", "a/b"), 1, "lightning-colorize: [Errno 13] Denied: 'a/b'\n"),
        (OSError(28, "Full", "a/b"), 1, "lightning-colorize: [Errno 28] Full: 'a/b'\n"),
        (OSError(errno.ENAMETOOLONG, "Long", "a"), 1, "lightning-colorize: [Errno "),
        (KeyboardInterrupt(), 130, "lightning-colorize: interrupted\n"),
        (SystemExit(143), 143, ""),
        (SystemExit("text"), 1, "lightning-colorize: text\n"),
        (SystemExit(None), 0, ""),
    ],
)
def test_exit_codes(command, capsys, error, code, message):
    command.error = error
    assert cli.main(["runs"]) == code
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") <= 1


def test_options_reach_a_command_and_wrong_ones_are_one_line(command, capsys):
    assert [cli.main(["runs", "--number", str(code)]) for code in (0, 1)] == [0, 1]
    assert cli.main(["runs", "--number", "many"]) == 2
    err = capsys.readouterr().err
    assert err == "lightning-colorize: runs: argument --number: invalid int value: 'many'\n"


def test_bugs_are_not_hidden(command):
    command.error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["runs"])


def test_closed_pipe_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -u -m lightning_colorize --help | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "usage: lightning-colorize COMMAND ...\n"
    assert done.stderr == ""


def test_the_help_of_fit_lists_the_common_options_with_text_and_default(capsys):
    assert cli.main(["fit", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("usage: lightning-colorize fit --config")
    assert len(lines) < 80
    options = common_options()
    assert all(re.fullmatch(r"  --[\w.]+ (\[.+\]|\S+) +[^ ].*", line) for line in options)
    assert set(options) < set(lines)
    assert any(line.startswith("  --data.size 128 ") for line in options)
