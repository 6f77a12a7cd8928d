"""Files bundled with the package: YAML files, photographs, and trained models."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

DEFAULT, SAMPLES = "default", "default-samples"
"""Names of the bundled models, accepted in place of a checkpoint; the second one samples."""

BUNDLED = {name: _PACKAGE / "weights" / f"{name}.safetensors" for name in (DEFAULT, SAMPLES)}


def with_bundled(path: Path) -> Path:
    """Resolve the name of a bundled model, even if a file of that name exists."""
    return BUNDLED.get(str(path), path)


def bundled(name: str) -> Path:
    """Return the folder of the packaged `experiments`, `sweeps` or `photographs`.

    They are inside the package in a wheel, and next to it or in docs/ in a checkout.
    """
    checkout = _PACKAGE.parent
    for folder in (_PACKAGE / "_bundled" / name, checkout / name, checkout / "docs" / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"this installation of lightning_colorize lacks its {name}/ folder")
