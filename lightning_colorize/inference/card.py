"""Model cards of exported files."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from lightning_colorize.common.digest import sha256_of
from lightning_colorize.metrics import spec
from lightning_colorize.runs.folder import run_of
from lightning_colorize.runs.record import RunRecord

_CARD = """\
# {name}

Colors black-and-white images. Exported from `{source}`.

| | |
|---|---|
{rows}

The colors are likely ones, not those of the scene. The terms of the weights follow from the images
they were trained on: say here which these are.
"""


def software(checkpoint: Path) -> str:
    """Return what results state as their software: this package, the model and its digest."""
    run = run_of(checkpoint.resolve())
    name = checkpoint.stem if run is None else run.name
    digest = sha256_of(checkpoint)
    return f"lightning-colorize {version('lightning-colorize')}, {name} sha256:{digest[:16]}"


def card_text(name: str, checkpoint: Path, rows: Mapping[str, str], measured: bool) -> str:
    """Return a model card in Markdown.

    Args:
        name: Of the exported file.
        checkpoint: The file that was exported.
        rows: Of the table.
        measured: Add the test's metrics of the checkpoint's run.
    """
    table = {**rows, **(_measured(checkpoint) if measured else {})}
    return _CARD.format(
        name=name,
        source=software(checkpoint),
        rows="\n".join(f"| {key} | {value} |" for key, value in table.items()),
    )


def _measured(checkpoint: Path) -> dict[str, str]:
    """Return the test's metrics of a checkpoint's run, beside those of grey images."""
    run = run_of(checkpoint.resolve())
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
