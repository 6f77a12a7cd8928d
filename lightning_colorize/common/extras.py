"""The extras of pyproject.toml, whose packages may be missing."""

from importlib import import_module

from lightning_colorize.common.arguments import PROGRAM
from lightning_colorize.common.errors import UsageError


def require_extra(extra: str, needed_by: str, *modules: str) -> None:
    """Import modules of an extra.

    Raises:
        UsageError: If one is missing; the message says how to run the command with the extra.
    """
    try:
        for module in modules:
            import_module(module)
    except ImportError as error:
        # The package is on no index.
        raise UsageError(
            f"{needed_by} needs {error.name}: uv run --extra {extra} {PROGRAM} ..., or "
            f"pip install '.[{extra}]' in the clone"
        ) from None
