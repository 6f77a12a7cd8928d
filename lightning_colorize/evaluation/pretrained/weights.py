"""Published weights, from a local cache or downloaded."""

from pathlib import Path

import torch
from torch.hub import HASH_REGEX

from lightning_colorize.networks.encoders.weights import bounded_hub, bounded_sockets


def from_url(url: str) -> Path:
    """Return a file from torch.hub's cache (below TORCH_HOME), downloading it if it is missing.

    Raises:
        OSError: If the server does not respond.
        RuntimeError: If the file does not match the hash in its name.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        stated = HASH_REGEX.search(file.name)
        with bounded_sockets():
            torch.hub.download_url_to_file(
                url, str(file), stated and stated.group(1), progress=False
            )
    return file


def from_hub(repository: str, name: str) -> Path:
    """Return a file from the Hugging Face cache, downloading it if it is missing.

    Raises:
        Exception: Of several classes, if the hub does not respond.
    """
    from huggingface_hub import hf_hub_download

    with bounded_hub():
        return Path(hf_hub_download(repository, name))
