"""Model cards of exported files."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from lightning_colorize.common.digest import sha256_of
from lightning_colorize.metrics import spec
from lightning_colorize.models.base import Model
from lightning_colorize.runs.folder import run_of
from lightning_colorize.runs.record import RunRecord

_CARD = """\
# {name}

Colors black-and-white images. Exported from `{source}`.

| | |
|---|---|
{rows}

The colors are plausible, not the true colors of the scene. The terms of use of the weights depend
on the training images: state both here.
"""


def software(path: Path | None) -> str:
    """Return the software entry of results: this package, the model and its digest."""
    package = f"lightning-colorize {version('lightning-colorize')}"
    if path is None:  # a model built in Python
        return package
    run = run_of(path.resolve())
    name = path.stem if run is None else run.name
    return f"{package}, {name} sha256:{sha256_of(path)[:16]}"


def card_text(name: str, model: Model, rows: Mapping[str, str]) -> str:
    """Return the card of an exported file in Markdown, with `rows` after the model's own."""
    table = {
        **model.card_rows(),
        "decoding": str(model.settings),
        "size": f"the network sees a short side of {model.size} pixels",
        **rows,
        **(_measured(model.path) if model.is_of_run else {}),
    }
    return _CARD.format(
        name=name,
        source=software(model.path),
        rows="\n".join(f"| {key} | {value} |" for key, value in table.items()),
    )


def _measured(checkpoint: Path | None) -> dict[str, str]:
    """Return the test metrics of a checkpoint's run, next to the values of grey images."""
    run = None if checkpoint is None else run_of(checkpoint.resolve())
    result = None if run is None else RunRecord(run).result
    if result is None:
        return {}
    grey = result.baselines.get(spec.GREY, {})
    return {
        f"{name} at the end of training": f"{value:.4g}"
        + (f" (grey {grey[name]:.4g})" if grey.get(name) else "")
        for name, value in result.metrics.items()
        if name.startswith("test/") and value is not None
    }
