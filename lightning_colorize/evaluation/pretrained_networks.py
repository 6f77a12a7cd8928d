"""Pretrained networks that measure images, with weights by path or the published ones."""

from collections.abc import Callable
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import (
    AlexNet_Weights,
    Inception_V3_Weights,
    VGG16_Weights,
    inception_v3,
)
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.extras import require_extra
from lightning_colorize.networks.encoders.timm_backbone import load_whole
from lightning_colorize.networks.encoders.weights import (
    State,
    bounded_hub,
    bounded_sockets,
    read_weights,
)


class _Network(nn.Module):
    """A network, called with images, (B, 3, H, W) in uint8, and the true image of each or of all.

    It returns features, or distances from the true image: (B, D).
    """

    def __init__(self, net: nn.Module, extract: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.extract = net, extract

    def forward(self, rgb: Tensor, true: Tensor) -> Tensor:
        return self.extract(rgb, true)


def fidelity_inception(state: State) -> nn.Module:
    """Return torch-fidelity's Inception, equivalent to the TensorFlow network of the original FID.

    torchmetrics' own copy resizes with antialiasing since version 1.8.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # It would read a file with torch.load, allowing all pickles: pass it what was read safely.
    torch.save(state, file := BytesIO())
    file.seek(0)
    net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], file)
    return _Network(net, lambda rgb, true: net(rgb)[0])


def torchvision_inception(state: State) -> nn.Module:
    """Return torchvision's Inception with the input of DDColor's `basicsr/metrics/custom_fid.py`.

    That code resizes RGB in 0..1 to 299 without antialiasing, and scales it as if it were in -1..1:
    once to 0..1, and then from ImageNet's mean and deviation to Inception's.
    """
    net = inception_v3(weights=None, init_weights=False, transform_input=True)
    net.load_state_dict(state)
    net.fc = nn.Identity()

    resize = partial(F.interpolate, size=(299, 299), mode="bilinear")
    return _Network(net, lambda rgb, true: net(resize(rgb.float() / 255) * 0.5 + 0.5))


def lpips(backbone: Literal["alex", "vgg"], state: State) -> nn.Module:
    """Return torchmetrics' LPIPS 0.1; `state` is the state dict of torchvision's backbone."""
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    # The public class downloads the backbone's weights. `pnet_rand` affects the backbone only.
    net = _NoTrainLpips(net=backbone, pnet_rand=True)
    # slice1.0.weight is features.0.weight
    wanted = {key: f"features.{key.partition('.')[2]}" for key in net.net.state_dict()}
    if missing := set(wanted.values()) - set(state):
        raise ValueError(f"{min(missing)} is missing")
    net.net.load_state_dict({key: state[name] for key, name in wanted.items()})

    def distances(rgb: Tensor, true: Tensor) -> Tensor:
        found: Tensor = net(rgb / 255, (true / 255).expand_as(rgb), normalize=True)
        return found.flatten(1)

    return _Network(net, distances)


def timm_features(name: str, state: State, head: bool = False) -> nn.Module:
    """Return a timm model's pooled features of images resized (both sides) to its input size.

    With `head`, the features are taken after the last layer, as for CLIP.
    """
    net = load_whole(name, state, {}, head)
    if not head:
        net.reset_classifier(0)
    given = net.pretrained_cfg
    size, mode = list(given["input_size"][1:]), InterpolationMode(given["interpolation"])

    def extract(rgb: Tensor, true: Tensor) -> Tensor:
        resized = TF.resize(rgb, size, mode, antialias=True) / 255
        features: Tensor = net(TF.normalize(resized, given["mean"], given["std"]))
        return features

    return _Network(net, extract)


class _Source(NamedTuple):
    """How a network is built."""

    build: Callable[[State], nn.Module]
    package: str  # The distribution on which its values depend.
    published: str = ""  # URL or Hugging Face repository of its weights.


NETWORKS = {
    "inception": _Source(
        fidelity_inception,
        "torch-fidelity",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
    ),
    "inception_torchvision": _Source(
        torchvision_inception, "torchvision", Inception_V3_Weights.IMAGENET1K_V1.url
    ),
    "alex": _Source(partial(lpips, "alex"), "torchvision", AlexNet_Weights.IMAGENET1K_V1.url),
    "vgg": _Source(partial(lpips, "vgg"), "torchvision", VGG16_Weights.IMAGENET1K_V1.url),
    "clip": _Source(
        partial(timm_features, "vit_base_patch16_clip_quickgelu_224.openai", head=True),
        "timm",
        "timm/vit_base_patch16_clip_224.openai",
    ),
}


def find_network(name: str) -> _Source:
    """Return a row of `NETWORKS`, or the features of the timm model of this name."""
    return NETWORKS.get(name) or _Source(partial(timm_features, name), "timm")


@cache
def load_network(name: str, path: Path | None, device: str) -> tuple[nn.Module, str]:
    """Return a network in evaluation mode, and the SHA-256 of its weights; each is loaded once.

    Without a path, the published weights come from the cache of torch.hub or Hugging Face, or are
    downloaded.

    Raises:
        ValueError: In one line, if the weights are not available or do not fit.
    """
    known = find_network(name)
    if path is None and not known.published:
        raise ValueError("add =WEIGHTS, a file with timm's state dict")
    require_extra("metrics", name, known.package.replace("-", "_"))  # before a download
    try:
        file = path or _published(known.published)
        network = known.build(read_weights(file))
        return network.eval().requires_grad_(False).to(device), sha256_of(file)
    except Exception as error:  # each library raises its own errors for a failed download
        # The first line of load_state_dict's error does not say what is missing.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        published = "" if path else "the published weights are not available: "
        raise ValueError(published + reason) from error


def _published(source: str) -> Path:
    if "://" not in source:
        from huggingface_hub import hf_hub_download

        with bounded_hub():
            return Path(hf_hub_download(source, "model.safetensors"))
    with bounded_sockets():
        torch.hub.load_state_dict_from_url(
            source, progress=False, check_hash=True, weights_only=True
        )
    return Path(torch.hub.get_dir(), "checkpoints", source.rpartition("/")[2])
