"""A trained network as the start of another task."""

from pathlib import Path

import torch

from lightning_colorize.common.errors import UsageError
from lightning_colorize.networks import Colorizer
from lightning_colorize.networks.encoders.weights import weights_skipped
from lightning_colorize.runs.folder import checkpoint_of

# A GAN's average, which is what colours, goes before the generator itself.
_NETWORKS = ("averaged.module.", "net.")


def load_network(network: Colorizer, path: Path) -> None:
    """Load the weights of a run's network, but not where a checkpoint is to bring them anyway.

    Args:
        network: Of the same encoder, decoder and head.
        path: A checkpoint, or a run folder: then its best.

    Raises:
        UsageError: If there is none, or it holds another network.
    """
    if weights_skipped():
        return
    file = checkpoint_of(path.expanduser())
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        state = checkpoint["state_dict"]
    except Exception as error:  # a damaged file makes torch raise nearly any class
        raise UsageError(f"{file} is damaged, or no checkpoint of lightning-colorize") from error
    prefix = next((p for p in _NETWORKS if any(name.startswith(p) for name in state)), "")
    weights = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        raise UsageError(
            f"{file} holds another network: it must have the generator's encoder, decoder and head"
        ) from None
