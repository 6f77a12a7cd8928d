"""Exported networks: safetensors files in half precision, read as checkpoints."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lightning_colorize.color import LabScaling
from lightning_colorize.common.bundled import BUNDLED
from lightning_colorize.common.class_paths import path_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import atomic_file
from lightning_colorize.models.base import Model, TrainedNetwork
from lightning_colorize.models.generative import GenerativeModel
from lightning_colorize.models.network import NetworkModel
from lightning_colorize.models.routed import RoutedModel
from lightning_colorize.networks import ColorizationNetwork, Decoder, Encoder, FeatureInfo, Head
from lightning_colorize.networks.denoiser import Denoiser
from lightning_colorize.networks.generative import GenerativeNetwork
from lightning_colorize.networks.objectives import FlowMatching, Objective
from lightning_colorize.networks.router import Router

SUFFIX, ONNX, PROGRAM = ".safetensors", ".onnx", ".pt2"
EXPORTED = (SUFFIX, ONNX, PROGRAM)
"""Suffixes of exported files."""

CLASS_PATH = "_class_path"
"""Key of the hyperparameters for the class to rebuild."""

# Class paths in files, kept from earlier versions for compatibility.
_NETWORK = "lightning_colorize.tasks.predictor.Predictor"
_ROUTER = "lightning_colorize.tasks.routed.RoutedPredictor"
_CONTENT, _DIGEST = "lightning_colorize", "sha256"
_BASELINES = "baselines."
_SMALL = 4096  # smaller tensors, such as batch norm statistics, stay in fp32


class ExportedNetwork(nn.Module, TrainedNetwork):
    """The network of an exported file, or the networks of an exported router.

    Without `categories`, which the router distinguishes, there is no router. `named` are the
    categories that have a specialist, in the order of `specialists`. `confidence` is the minimum
    probability for a specialist, 0 to 1. With `residual`, not None, the network is generative.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Callable[[FeatureInfo], Decoder],
        head: Callable[[int], Head],
        categories: Sequence[str] = (),
        named: Sequence[str] = (),
        confidence: float = 0.5,
        denoiser: Callable[[int], Denoiser] = Denoiser,
        objective: Objective | None = None,
        residual: bool | None = None,
    ) -> None:
        super().__init__()
        built = decoder(encoder.info)
        parts = (encoder, built, head(built.out_channels))
        self.net = ColorizationNetwork(*parts)
        if residual is not None:
            sampler = objective or FlowMatching()
            self.net = GenerativeNetwork(*parts, denoiser, sampler, residual)
        self.scaling = LabScaling()
        if not {*named} <= {*categories}:
            raise ValueError("a specialist has no category")
        self.router = Router(encoder.info.channels[-1], categories) if categories else None
        self.named = named
        self.specialists = nn.ModuleList(deepcopy(self.net) for _ in named)
        self.confidence = float(confidence)

    def to_model(self) -> NetworkModel:
        """Return the network as a model."""
        if isinstance(self.net, GenerativeNetwork):
            return GenerativeModel(self.net, self.scaling)
        if self.router is None:
            return NetworkModel(self.net, self.scaling)
        named: Any = dict(zip(self.named, self.specialists, strict=True))
        return RoutedModel(self.net, self.scaling, self.router, named, self.confidence)


def exportable(model: Model, graph: bool = False) -> NetworkModel:
    """Return the network to export, as a graph or as its parts.

    Raises:
        UsageError: If the model cannot be exported.
    """
    if not isinstance(model, NetworkModel):
        raise UsageError(f"{model} is not a network of lightning-colorize; export a checkpoint")
    if graph and isinstance(model, RoutedModel):
        raise UsageError(
            f"{model} chooses a network for each image, which a graph cannot do; export its "
            "networks one by one, or all as .safetensors"
        )
    if model.description is None and not graph:
        raise UsageError(f"{model}: its task records no encoder; export it as .onnx or .pt2")
    return model


def write_exported(file: Path, model: NetworkModel, base: str | None = None) -> None:
    """Write all that `read_exported` returns, in half precision; replace an existing file.

    `base` is the name of a bundled model that has a part of the tensors; those equal to its own are
    not written again, and the file needs the same version of it.
    """
    name = _ROUTER if isinstance(model, RoutedModel) else _NETWORK
    hyperparameters = {CLASS_PATH: name, **model.hyperparameters()}
    baselines = {} if model.baselines is None else model.baselines.state_dict()
    decoding = {**model.settings.values(), "size": model.size}
    tensors = model.state_dict() | {f"{_BASELINES}{n}": value for n, value in baselines.items()}
    stored = {}
    for name, value in tensors.items():
        large = value.is_floating_point() and value.numel() >= _SMALL
        value = value.half() if large else value
        if not value.isfinite().all():
            raise UsageError(f"{name} has weights that are too large for half precision")
        stored[name] = value.cpu().contiguous().clone()  # tied tensors share memory
    shared = {} if base is None else _read(BUNDLED[base])[0]
    if not shared.keys() <= stored.keys():
        raise ValueError(f"{base} has tensors that the model does not have")
    parts = {"hyper_parameters": hyperparameters, "decoding": decoding}
    content = json.dumps(parts if base is None else {**parts, "base": base})
    metadata = {_CONTENT: content, _DIGEST: _digest(stored, content)}
    own = {n: v for n, v in stored.items() if n not in shared or not _same(v, shared[n])}
    with atomic_file(file) as opened:
        opened.write(save(own, metadata))


def read_exported(file: Path) -> dict[str, Any]:
    """Return the content of an exported network in checkpoint format.

    Raises:
        Exception: Of nearly any class, if the file is damaged or not an exported network.
    """
    stored, metadata = _read(file)
    content = metadata[_CONTENT]
    parsed = json.loads(content)
    if (base := parsed.get("base")) is not None:
        if base not in BUNDLED:
            raise UsageError(f"{file} needs the bundled model {base} of another version")
        stored = _read(BUNDLED[base])[0] | stored
    if metadata[_DIGEST] != _digest(stored, content):
        other = "" if base is None else f", or {base} has"
        raise UsageError(f"{file} is damaged: it has changed since it was written{other}")
    hyperparameters = parsed["hyper_parameters"]
    if hyperparameters[CLASS_PATH] not in (_NETWORK, _ROUTER):
        raise ValueError("not an exported network")
    hyperparameters[CLASS_PATH] = path_of(ExportedNetwork)
    tensors = {n: v.float() if v.is_floating_point() else v for n, v in stored.items()}
    fitted = {
        name.removeprefix(_BASELINES): tensors.pop(name)
        for name in stored
        if name.startswith(_BASELINES)
    }
    return {
        "hyper_parameters": hyperparameters,
        "state_dict": tensors,
        "datamodule_hyper_parameters": {},
        "callbacks": {"BaselineMetrics": {"baselines": fitted}} if fitted else {},
        "decoding": parsed["decoding"],
    }


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file."""
    with safe_open(file, "pt") as opened:
        stored = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return stored, opened.metadata()


def _same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal bit by bit: -0 is not 0."""
    same = one.dtype == other.dtype and one.shape == other.shape
    return same and one.flatten().view(torch.uint8).equal(other.flatten().view(torch.uint8))


def _digest(tensors: Mapping[str, Tensor], content: str) -> str:
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
