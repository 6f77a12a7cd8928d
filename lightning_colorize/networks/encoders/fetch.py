"""Fetching pretrained weights within a bounded time, so that a machine without network says so."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from torchvision.models import WeightsEnum

SECONDS = 10.0
"""How long a server may take to answer before a fetch is given up."""


@contextmanager
def bounded_sockets() -> Iterator[None]:
    """Let no socket that is opened here wait for longer than SECONDS."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def answers(url: str) -> bool:
    """Return whether a server answers at all, whatever it says."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=SECONDS):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


@contextmanager
def bounded_hub() -> Iterator[None]:
    """Make the Hugging Face hub use its cache alone where its server does not answer.

    Its client tries again and again for a minute without a network, for three where packets are
    dropped.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def fetch_torchvision(published: WeightsEnum) -> Mapping[str, Any]:
    """Return torchvision's published state dict, from its cache where it is there."""
    with bounded_sockets():
        state: Mapping[str, Any] = published.get_state_dict(progress=False, check_hash=True)
    return state
