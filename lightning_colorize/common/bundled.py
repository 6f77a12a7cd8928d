"""What is bundled with the package: YAML files, photographs, and a trained model."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

DEFAULT = "default"
"""Name of the bundled model, in place of a checkpoint."""

DEFAULT_FILE = _PACKAGE / "weights" / "default.safetensors"


def with_default(path: Path) -> Path:
    """Return the file of the bundled model for `default`, even if there is a file of this name."""
    return DEFAULT_FILE if path == Path(DEFAULT) else path


def bundled(name: str) -> Path:
    """Return the folder of the packaged `experiments`, `sweeps` or `photographs`.

    A wheel has them inside the package, a checkout beside it or in docs/.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    beside = _PACKAGE.parent
    for folder in (_PACKAGE / "_bundled" / name, beside / name, beside / "docs" / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of lightning_colorize lacks its {name}/ folder")
