"""Downloads of pretrained weights with a timeout, for machines without network."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from torchvision.models import WeightsEnum

SECONDS = 10.0
"""Timeout of a server's response."""


@contextmanager
def bounded_sockets() -> Iterator[None]:
    """Set a timeout of SECONDS for sockets opened here."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def answers(url: str) -> bool:
    """Return whether a server responds, with any status."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=SECONDS):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


@contextmanager
def bounded_hub() -> Iterator[None]:
    """Use only the Hugging Face cache if the hub does not respond.

    Its client retries for a minute without a network, for three if packets are dropped.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def fetch_torchvision(published: WeightsEnum) -> Mapping[str, Any]:
    """Return torchvision's published state dict, from its cache if possible."""
    with bounded_sockets():
        state: Mapping[str, Any] = published.get_state_dict(progress=False, check_hash=True)
    return state
