"""Backbones from timm."""

from difflib import get_close_matches
from functools import partial
from itertools import pairwise
from typing import Any, Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.encoders.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PretrainedEncoder,
    normalize_input,
)
from lightning_colorize.networks.encoders.weights import State, bounded_hub, load_weights

_RANGES = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "half": ((0.5,), (0.5,))}


class TimmEncoder(PretrainedEncoder):
    """A timm model's feature pyramid for one channel, with the first weights summed over RGB.

    Args:
        name: timm's name, with or without a tag: `convnext_atto`, `resnet18.a1_in1k`.
        levels: Indices of the model's levels, from 0 for the finest; null: all. For a model whose
            levels have the same size (a plain ViT), choose one level.
        model_args: Additional arguments of `timm.create_model`. Models for a fixed image size need
            one that lifts this restriction: `{dynamic_img_size: true}` (ViT), `{strict_img_size:
            false}` (Swin).
        normalization: Input range of the weights: `imagenet` (ImageNet's mean and standard
            deviation) or `half` (RGB / 127.5 - 1, TensorFlow's); null: timm's own.
        options: Arguments of `PretrainedEncoder`.

    Raises:
        WeightsError: If weights are unavailable or do not fit.
        ValueError: If timm has no such model, or its levels do not form a pyramid.
    """

    def __init__(
        self,
        name: str,
        levels: list[int] | None = None,
        model_args: dict[str, Any] | None = None,
        normalization: Literal["imagenet", "half"] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        require_model(name)
        arguments = {"in_chans": self.in_channels, **(model_args or {}), "features_only": True}
        if levels is not None:
            arguments["out_indices"] = tuple(levels)

        fetch = bounded_hub()(partial(_create, name, pretrained=True, **arguments))
        loaded = self.obtain_weights(fetch, f"timm {name}")
        if isinstance(loaded, dict):
            load_whole(name, loaded, model_args or {})  # timm loads pyramids without checking
            arguments |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": loaded}}
        backbone: Any = loaded if isinstance(loaded, nn.Module) else _create(name, **arguments)
        _make_padding_constant(backbone)
        self.backbone = backbone
        published, info = backbone.pretrained_cfg, backbone.feature_info
        if published["fixed_input_size"] and not model_args:
            raise ValueError(
                f"timm's {name} only takes images of {published['input_size'][1:]}; lift this with "
                "model_args: {dynamic_img_size: true} (ViT) or {strict_img_size: false} (Swin)"
            )
        self.mean, self.std = published["mean"], published["std"]
        if normalization is not None:
            self.mean, self.std = _RANGES[normalization]
        self.info = FeatureInfo(tuple(info.channels()), tuple(info.reduction()))
        if any(fine >= coarse for fine, coarse in pairwise(self.info.reductions)):
            raise ValueError(
                f"timm's {name} has levels of the same size, reductions {self.info.reductions}; "
                "choose one, e.g. levels: [2]"
            )
        self.settle()

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1, H, W) in [-1, 1]."""
        features: list[Tensor] = self.backbone(normalize_input(L, self.mean, self.std))
        if str(getattr(self.backbone, "output_fmt", "NCHW")).endswith("NHWC"):
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return features


class _SameConv2d(nn.Conv2d):
    """timm's `Conv2dSame` (TensorFlow's padding) for sizes that are multiples of the stride.

    Networks pad images to such sizes. Padding that depends on the size takes forever to export.
    """

    def forward(self, input: Tensor) -> Tensor:
        sides = zip(self.kernel_size, self.stride, self.dilation, strict=True)
        total = [max(dilation * (kernel - 1) + 1 - stride, 0) for kernel, stride, dilation in sides]
        before = [pad // 2 for pad in total]
        pads = (before[1], total[1] - before[1], before[0], total[0] - before[0])
        return super().forward(F.pad(input, pads))


def _make_padding_constant(backbone: nn.Module) -> None:
    from timm.layers.conv2d_same import Conv2dSame

    for module in backbone.modules():
        if isinstance(module, Conv2dSame):
            cast(Any, module).__class__ = _SameConv2d


def require_model(name: str) -> None:
    """Raise a ValueError that suggests similar names if timm has no such model."""
    # Imported here and below: the import takes nearly two seconds.
    import timm

    if not timm.is_model(name):
        nearest = get_close_matches(name, timm.list_models(), n=3, cutoff=0)
        raise ValueError(f"timm has no model {name!r}; nearest: {', '.join(nearest)}")


def _create(name: str, **arguments: Any) -> Any:
    """Return timm's model; a wrong tag, level or argument raises a one-line ValueError."""
    import timm

    try:
        return timm.create_model(name, **arguments)
    except (RuntimeError, TypeError, IndexError, AssertionError) as error:
        shown = {k: v for k, v in arguments.items() if k != "pretrained_cfg_overlay"}
        reason = str(error).split("\n")[0]
        raise ValueError(f"timm could not build {name} with {shown}: {reason}") from error


def load_whole(
    name: str, state: State, model_args: dict[str, Any], classifier: bool = False
) -> Any:
    """Return timm's model with the weights of a state dict in timm's format, which must fit.

    Without `classifier`, the last layer may have any size, or be missing.

    Raises:
        WeightsError: If the state dict does not fit.
        ValueError: If timm cannot build the model.
    """
    whole = _create(name, **model_args)
    layers = () if classifier else whole.pretrained_cfg.get("classifier") or ()
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    load_weights(whole, state, tuple(f"{name}." for name in names))
    return whole
