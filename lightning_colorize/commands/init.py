"""`lightning-colorize init`: copies the bundled experiments and sweeps."""

import argparse
import filecmp
import shutil
from pathlib import Path

from lightning_colorize.common.arguments import COMMAND, Parser
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError

HELP = "copy the bundled experiments and sweeps to a folder, where you can edit and run them"

_FOLDERS = ("experiments", "sweeps")


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_path("dir", "DIR", "target folder, created if it does not exist")
    parser.add_flag("--force", "replace existing files that differ, and list them")


def run(args: argparse.Namespace) -> int:
    """Copy the files and print the next step."""
    target: Path = args.dir
    try:
        count, changed = _copy(target, args.force)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from None
    for copy in changed:
        print(f"replaced {copy}")
    print(f"{count} files in {target / 'experiments'} and {target / 'sweeps'}. Next:")
    if target.resolve() != Path.cwd():
        print(f"  cd {target}")
    print(f"  {COMMAND} fit --config experiments/quickstart.yaml")
    return 0


def _copy(target: Path, force: bool) -> tuple[int, list[Path]]:
    """Copy missing files; return the number of files and the replaced ones."""
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; give a folder")
    copies = {
        file: target / name / file.relative_to(bundled(name))
        for name in _FOLDERS
        for file in sorted(bundled(name).rglob("*"))
        if file.is_file()
    }
    existing = [(file, copy) for file, copy in copies.items() if copy.exists()]
    changed = [copy for file, copy in existing if not filecmp.cmp(file, copy, shallow=False)]
    if changed and not force:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise UsageError(
            f"{changed[0]} already exists and differs{more}; nothing was copied; "
            "choose another folder, or --force to replace"
        )
    for file, copy in copies.items():
        if copy in changed or not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    return len(copies), changed
