"""A trained network as one small file."""

from pathlib import Path

from lightning_colorize.inference.checkpoint import ColorizationModel, require_size
from lightning_colorize.tasks.exported import write_exported
from lightning_colorize.tasks.predictor import predictor_arguments, predictor_state


def export_model(model: ColorizationModel, file: Path) -> None:
    """Write a network, its baselines and its decoding to a safetensors file, in half precision.

    `load_model` reads it. It holds neither the optimizer nor the loss, and cannot be resumed.

    Args:
        model: The trained model; its present decoding becomes the file's.
        file: The file to write or replace, with the suffix `.safetensors`.

    Raises:
        UsageError: If a weight is too large for half precision, or the size too large for any
            network.
    """
    require_size(model.size)
    write_exported(
        file,
        predictor_arguments(model.task),
        predictor_state(model.task),
        {} if model.baselines is None else model.baselines.state_dict(),
        model.decoding | {"size": model.size},
    )
