"""The YAML files that are bundled with the package."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def bundled(name: str) -> Path:
    """Return the folder of the packaged `experiments` or `sweeps`.

    A wheel has them inside the package, a checkout beside it.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    for folder in (_PACKAGE / "_bundled" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of lightning_colorize lacks its {name}/ folder")
