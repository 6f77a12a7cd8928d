"""Files bundled with the package: YAML files, photographs, and a trained model."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

DEFAULT = "default"
"""Name of the bundled model, accepted in place of a checkpoint."""

DEFAULT_FILE = _PACKAGE / "weights" / "default.safetensors"


def with_default(path: Path) -> Path:
    """Resolve `default` to the bundled model, even if a file of that name exists."""
    return DEFAULT_FILE if path == Path(DEFAULT) else path


def bundled(name: str) -> Path:
    """Return the folder of the packaged `experiments`, `sweeps` or `photographs`.

    They are inside the package in a wheel, and next to it or in docs/ in a checkout.
    """
    checkout = _PACKAGE.parent
    for folder in (_PACKAGE / "_bundled" / name, checkout / name, checkout / "docs" / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of lightning_colorize lacks its {name}/ folder")
