"""Initialization of a task from a trained network."""

from pathlib import Path

from lightning_colorize.common.errors import UsageError
from lightning_colorize.networks import Colorizer
from lightning_colorize.networks.encoders.weights import weights_skipped
from lightning_colorize.runs.folder import checkpoint_of
from lightning_colorize.tasks.checkpoint import read_checkpoint

# A GAN's moving average takes precedence over the generator.
_NETWORKS = ("averaged.module.", "net.")


def load_network(network: Colorizer, path: Path) -> None:
    """Load the weights of a run's network, unless a checkpoint follows (`skip_weights`).

    Raises:
        UsageError: If there is no checkpoint, or it contains another network.
    """
    if weights_skipped():
        return
    file = checkpoint_of(path.expanduser())
    state = read_checkpoint(file)["state_dict"]
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
