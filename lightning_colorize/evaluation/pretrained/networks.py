"""Pretrained networks that measure images, and where their published weights are.

Each is built from a state dict and called with images, (B, 3, H, W) in uint8, and the true image,
(3, H, W) in uint8. It returns (B, D): features, or distances from the true image. All are in
evaluation mode and run in fp32.
"""

from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.hub import HASH_REGEX
from torch.nn import functional as F
from torchvision.models import inception_v3
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.networks.encoders.timm_backbone import load_whole
from lightning_colorize.networks.encoders.weights import State, bounded_hub, bounded_sockets

_SIDE = 299  # of Inception's input


class FidelityInception(nn.Module):
    """torch-fidelity's Inception, equivalent to the TensorFlow network of the original FID."""

    def __init__(self, state: State) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        super().__init__()
        # It would read a file with torch.load, allowing all pickles: pass it what was read safely.
        file = BytesIO()
        torch.save(state, file)
        file.seek(0)
        self.net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], file)

    def forward(self, rgb: Tensor, true: Tensor) -> Tensor:
        """Return the features before the classifier, (B, 2048)."""
        features: Tensor = self.net(rgb)[0]
        return features


class TorchvisionInception(nn.Module):
    """torchvision's Inception with the input of DDColor's code, `basicsr/metrics/custom_fid.py`.

    That code (and code that follows it) resizes RGB in 0..1 to 299 without antialiasing, and scales
    it as if it were in -1..1: once to 0..1, and then from ImageNet's mean and deviation to
    Inception's. The network sees a range of 0.2 to 0.4, not -1 to 1.
    """

    def __init__(self, state: State) -> None:
        super().__init__()
        self.net = inception_v3(weights=None, init_weights=False, transform_input=True)
        self.net.load_state_dict(state)
        self.net.fc = nn.Identity()

    def forward(self, rgb: Tensor, true: Tensor) -> Tensor:
        """Return the features before the classifier, (B, 2048)."""
        x = F.interpolate(rgb.float() / 255, size=(_SIDE, _SIDE), mode="bilinear")
        features: Tensor = self.net(x * 0.5 + 0.5)
        return features


class Lpips(nn.Module):
    """LPIPS 0.1 (Zhang et al. 2018): torchmetrics' copy with its linear layers.

    `backbone` is `alex` or `vgg`; `state` is torchvision's.
    """

    def __init__(self, backbone: Literal["alex", "vgg"], state: State) -> None:
        from torchmetrics.functional.image.lpips import _NoTrainLpips

        super().__init__()
        # The public class downloads the backbone's weights. `pnet_rand` affects the backbone only.
        self.net = _NoTrainLpips(net=backbone, pnet_rand=True)
        # slice1.0.weight is features.0.weight
        wanted = {key: f"features.{key.partition('.')[2]}" for key in self.net.net.state_dict()}
        if missing := set(wanted.values()) - set(state):
            raise ValueError(f"{min(missing)} is missing")
        self.net.net.load_state_dict({key: state[name] for key, name in wanted.items()})

    def forward(self, rgb: Tensor, true: Tensor) -> Tensor:
        """Return the distance of each image from the true one, (B, 1)."""
        distances: Tensor = self.net(rgb / 127.5 - 1, (true / 127.5 - 1).expand_as(rgb))
        return distances.flatten(1)


class TimmFeatures(nn.Module):
    """The pooled features of a timm model, with images resized (both sides) to its input size.

    With `head`, the features are taken after the last layer, as for CLIP.
    """

    def __init__(self, name: str, state: State, head: bool = False) -> None:
        super().__init__()
        self.net = load_whole(name, state, {}, head)
        if not head:
            self.net.reset_classifier(0)
        given = self.net.pretrained_cfg
        self.mean, self.std = given["mean"], given["std"]
        self.resize = partial(
            TF.resize,
            size=list(given["input_size"][1:]),
            interpolation=InterpolationMode(given["interpolation"]),
            antialias=True,
        )

    def forward(self, rgb: Tensor, true: Tensor) -> Tensor:
        """Return the features, (B, D)."""
        features: Tensor = self.net(TF.normalize(self.resize(rgb) / 255, self.mean, self.std))
        return features


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
