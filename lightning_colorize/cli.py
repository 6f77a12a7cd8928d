"""The `lightning-colorize` command, which imports only the module of the chosen command.

Importing Lightning takes seconds, and help and usage errors do not need it.
"""

import errno
import os
import sys
from importlib import import_module
from types import ModuleType

from lightning_colorize import __version__
from lightning_colorize.common.arguments import COMMAND, PROGRAM, Parser
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.processes import keep_freed_memory, quiet_decoders
from lightning_colorize.common.text import printable

COMMANDS = (
    "fit",
    "resume",
    "sweep",
    "launch",
    "evaluate",
    "colorize",
    "tune-decoding",
    "compare",
    "protocol",
    "leaderboard",
    "describe",
    "export",
    "router",
    "study",
    "runs",
    "dashboard",
    "demo",
    "bench",
    "pack",
    "audit",
    "init",
)
"""The commands, in the order of the help; each is a module in `commands/`."""

_OF_THE_FILE_SYSTEM = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    errno.ENAMETOOLONG,
)

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 on success, 1 on (partial) failure, 2 on a usage error; 130 if interrupted,
        138 if out of time, 143 if terminated, each after writing a checkpoint.
    """
    words = sys.argv[1:] if argv is None else argv
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: the next file would take its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        return _run(words)
    except SystemExit as exit_:  # as Python's own exit does
        if exit_.code is None or isinstance(exit_.code, int):
            return exit_.code or DONE
        print(printable(f"{PROGRAM}: {exit_.code}"), file=sys.stderr)
        return FAILED
    except (UsageError, WorkError) as error:
        # The line breaks are ours, but names in the message may contain anything.
        lines = f"{PROGRAM}: {error}".split("\n")
        print(*map(printable, lines), sep="\n", file=sys.stderr)
        return WRONG_USE if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has exited; do not flush stdout at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if error.errno not in _OF_THE_FILE_SYSTEM:
            raise
        print(printable(f"{PROGRAM}: {error}"), file=sys.stderr)
        return FAILED


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        _print_help()
        return DONE if words else WRONG_USE
    if words[0] in ("-V", "--version"):
        print(f"{PROGRAM} {__version__}")
        return DONE
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise UsageError(f"unknown command '{name}'; choose from {', '.join(COMMANDS)}")
    keep_freed_memory()
    quiet_decoders()
    module = command_module(name)
    if hasattr(module, "main"):
        return int(module.main(rest))
    parser = Parser(prog=f"{PROGRAM} {name}", description=module.HELP)
    module.add_arguments(parser)
    return int(module.run(parser.parse(rest)))


def command_module(name: str) -> ModuleType:
    """Return the module of a command."""
    return import_module(f"lightning_colorize.commands.{name.replace('-', '_')}")


def _print_help() -> None:
    print(f"usage: {PROGRAM} COMMAND ...\n")
    print("Train, sweep, compare and use models that colorize black-and-white photographs.\n")
    print("commands:")
    for name in COMMANDS:
        print(f"  {name:<13} {command_module(name).HELP}")
    print(f"\nRun {COMMAND} COMMAND --help for the options of a command. To get started:")
    print(f"  {COMMAND} fit --config experiments/quickstart.yaml")


if __name__ == "__main__":
    sys.exit(main())
