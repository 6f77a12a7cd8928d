"""What is bundled with the package: YAML files, and a trained model."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

DEFAULT = "default"
"""Name of the bundled model, in place of a checkpoint."""

DEFAULT_FILE = _PACKAGE / "weights" / "default.safetensors"


def with_default(path: Path) -> Path:
    """Return the file of the bundled model for `default`, unless there is such a file."""
    return DEFAULT_FILE if path == Path(DEFAULT) and not path.exists() else path


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
