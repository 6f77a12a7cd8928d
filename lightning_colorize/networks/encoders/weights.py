"""Loading and downloading weights."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from torch import Tensor, nn
from torchvision.models import WeightsEnum

SECONDS = 10.0
"""Timeout for a server's response."""

State = dict[str, Tensor]


class WeightsError(ValueError):
    """Weights are unavailable or do not fit; the message is one line with a remedy."""


@contextmanager
def bounded_sockets() -> Iterator[None]:
    """Set a timeout of SECONDS for sockets opened here."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def bounded_hub() -> Iterator[None]:
    """Set the timeout, and use only the Hugging Face cache if the Hub does not respond.

    The client retries for a minute without a network, and for three if packets are dropped.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not answers(constants.ENDPOINT)
    try:
        with bounded_sockets():
            yield
    finally:
        constants.HF_HUB_OFFLINE = before


def answers(url: str) -> bool:
    """Return whether a server responds, with any status."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=SECONDS):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


@bounded_sockets()
def fetch_torchvision(published: WeightsEnum) -> State:
    """Return torchvision's published state dict, from its cache if possible."""
    return dict(published.get_state_dict(progress=False, check_hash=True))


def read_weights(path: Path) -> State:
    """Return a file's state dict (or its `state_dict` entry), without executing code.

    Raises:
        WeightsError: If the file is missing or contains no state dict.
    """
    # timm takes nearly two seconds to import.
    from timm.models import load_state_dict

    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"weights: {path} does not exist; give a file, or pretrained: false")
    try:
        state = load_state_dict(str(path), use_ema=False, weights_only=True)
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise TypeError("it contains more than tensors")
    except Exception as error:  # for invalid files, torch.load raises many classes
        raise WeightsError(
            f"weights: {path} is not a state dict written by torch.save or safetensors"
        ) from error
    return dict(state)


def load_weights(network: nn.Module, state: State, classifier: str | tuple[str, ...]) -> None:
    """Load a state dict strictly, except for the classifier.

    Raises:
        WeightsError: If keys are missing or unknown, or shapes differ.
    """
    whole = {k: v for k, v in network.state_dict().items() if k.startswith(classifier)}
    whole |= {k: v for k, v in state.items() if not k.startswith(classifier)}
    try:
        network.load_state_dict(whole)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"weights do not fit this encoder: {reason}") from None
