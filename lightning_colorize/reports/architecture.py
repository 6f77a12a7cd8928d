"""The layers of a network, found by running it: a table, and a figure in SVG."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import log2
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_colorize.networks import (
    Colorizer,
    Discriminator,
    GenerativeColorizer,
    parameter_count,
    skip_weights,
)

COLUMNS = ("layer", "modules", "output", "parameters", "million MACs")
"""The columns of `Layer.row`."""

_COLORS = {"encoder": "#7aa6c2", "decoder": "#d9a441", "head": "#b5651d", "other": "#999999"}
_TALLEST, _GAP, _SKY = 120, 12, 50  # of a box, between boxes, above them: in pixels


@dataclass
class Layer:
    """A module with weight matrices, and the norms and activations after it.

    Attributes:
        name: The module's name in the network.
        modules: Classes in the order of their calls, the first with its kernel and stride.
        output: Shape of the output without the batch: channels, height, width.
        parameters: Number of parameters.
        macs: Multiply-accumulate operations of convolutions and matrix products, for one image.
        skips: Names of encoder layers whose output is also an input.
    """

    name: str
    modules: list[str]
    output: tuple[int, ...] = ()
    parameters: int = 0
    macs: int = 0
    skips: Sequence[str] = ()

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of a table, see `COLUMNS`."""
        modules = ", ".join([*self.modules, *(f"+ {name}" for name in self.skips)])
        numbers = (f"{self.parameters:,}", f"{self.macs / 1e6:,.1f}")
        return (self.name, modules, " x ".join(map(str, self.output)), *numbers)


def open_networks(file: Path) -> tuple[dict[str, nn.Module], int]:
    """Build the networks of an experiment, without pretrained weights.

    Args:
        file: The configuration of `fit`, or of a run.

    Returns:
        The networks by name, `net` first, then a discriminator; and the height and width of the
        images in pixels.

    Raises:
        UsageError: If `fit` would not accept the file.
    """
    from lightning_colorize.training.cli import ParsedCLI  # slow import
    from lightning_colorize.training.errors import usage_errors

    with usage_errors(f"{file}: "), skip_weights():
        cli = ParsedCLI(["--config", str(file)], "lightning-colorize fit")
        built = cli.parser.instantiate(cli.config)
    parts = built.model.named_children()
    kinds = Colorizer | Discriminator
    return {name: part for name, part in parts if isinstance(part, kinds)}, built.data.size


def layers_of(network: nn.Module, size: int) -> list[Layer]:
    """Return the layers in the order of their calls.

    A last layer `other` has the parameters and operations outside of the others, if any. The
    network moves to the meta device, where it has no weights and computes nothing.

    Args:
        network: A `Colorizer` or a `Discriminator`.
        size: Height and width of its input in pixels.
    """
    watch = _Watch(network.to("meta").eval())
    with watch.counter, torch.device("meta"):
        output = _output_of(network, size)
    watch.find_skips(output)
    layers = watch.layers
    parameters = sum(p.numel() for p in network.parameters()) - sum(x.parameters for x in layers)
    macs = watch.counter.get_total_flops() // 2 - sum(layer.macs for layer in layers)
    return [*layers, Layer("other", [], (), parameters, macs)] if parameters or macs else layers


def total(network: nn.Module, layers: Sequence[Layer], size: int) -> str:
    """Return the parameters and operations of a network in one line."""
    trainable, frozen = parameter_count(network)
    macs = sum(layer.macs for layer in layers) / 1e9
    return (
        f"{trainable + frozen:,} parameters, {frozen:,} of them frozen; {macs:.3g} billion MACs "
        f"for an image of {size} x {size}"
    )


def _output_of(network: nn.Module, size: int) -> Tensor:
    L, ab = torch.zeros(1, 1, size, size), torch.zeros(1, 2, size, size)
    if isinstance(network, GenerativeColorizer):
        encoded = network.encode(L)
        network.denoiser(torch.zeros_like(encoded.mean), torch.zeros(1), encoded.context)
        return encoded.prediction
    output: Tensor = network(L, ab) if isinstance(network, Discriminator) else network(L)
    return output


class _Watch:
    """Collects the layers while the network runs."""

    def __init__(self, network: nn.Module) -> None:
        self.counter = FlopCounterMode(display=False)
        self.layers: list[Layer] = []
        self._inputs: list[tuple[int, ...]] = []  # shape of the input of each layer
        self._begun: dict[nn.Module, tuple[int, int]] = {}
        self._calls = 0
        self._counted: set[Tensor] = set()
        self._before: list[str] = []  # poolings and the like before the next layer
        self._features: list[Tensor] = []
        for name, module in network.named_modules():
            own = any(True for _ in module.parameters(recurse=False))
            leaf = own or hasattr(module, "parametrizations") or not [*module.children()]
            if leaf and "parametrizations" not in name:
                module.register_forward_pre_hook(self._begin)
                module.register_forward_hook(self._after(name))
        if isinstance(network, Colorizer):
            network.encoder.register_forward_hook(self._detach)

    def _begin(self, module: nn.Module, given: Any) -> None:
        self._begun[module] = self.counter.get_total_flops(), self._calls

    def _after(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def add(module: nn.Module, given: Any, output: Any) -> None:
            flops, calls = self._begun[module]
            is_block = calls < self._calls  # around other layers, such as one with a scale
            own = {*module.parameters(recurse=not is_block)} - self._counted
            self._counted |= own
            shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
            is_layer = any(p.ndim > 1 for p in module.parameters())
            if is_block:
                self.layers[-1].parameters += sum(p.numel() for p in own)
                return
            self._calls += 1
            kind = _kind(module)
            if is_layer:
                self.layers.append(Layer(name, [*self._before, kind]))
                self._inputs.append(tuple(given[0].shape[1:]))
                self._before.clear()
            elif not self.layers or shape != self.layers[-1].output:
                self._before += [kind] if kind else []
                return
            elif kind:
                self.layers[-1].modules.append(kind)
            last = self.layers[-1]
            last.output = shape
            last.parameters += sum(p.numel() for p in own)
            last.macs += (self.counter.get_total_flops() - flops) // 2

        return add

    def _detach(self, encoder: nn.Module, given: Any, features: list[Tensor]) -> list[Tensor]:
        """Start the gradient of each level here, which shows whether the decoder uses it."""
        self._features = [feature.detach().requires_grad_() for feature in features]
        return [feature + 0 for feature in self._features]

    def find_skips(self, output: Tensor) -> None:
        """Find the layers where finer levels of the encoder come in: the first of their size."""
        if not self._features:
            return
        used = torch.autograd.grad(output.sum(), self._features, allow_unused=True)
        for feature, gradient in [*zip(self._features, used, strict=True)][:-1]:
            shape = tuple(feature.shape[1:])
            names = [x.name for x in self.layers if x.output == shape and _part(x) == "encoder"]
            others = zip(self.layers, self._inputs, strict=True)
            entries = [x for x, given in others if _part(x) != "encoder" and given[1:] == shape[1:]]
            if gradient is not None and names and entries:
                entries[0].skips = [*entries[0].skips, names[-1]]


def _part(layer: Layer) -> str:
    name = layer.name.partition(".")[0]
    return name if name in _COLORS else "other"


def _kind(module: nn.Module) -> str:
    """Return a module's class, with kernel, groups and stride; "" for one without effect."""
    name = type(module).__name__.removeprefix("Parametrized")
    if isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d | nn.Sequential):
        return ""
    kernel, stride = getattr(module, "kernel_size", None), getattr(module, "stride", 1)
    if kernel is None:
        return name
    side, step = (x[0] if isinstance(x, tuple) else x for x in (kernel, stride))
    depthwise = " depthwise" if getattr(module, "groups", 1) > 1 else ""
    return f"{name} {side}x{side}{depthwise}{f' /{step}' if step != 1 else ''}"


def draw(layers: Sequence[Layer], title: str) -> str:
    """Return a figure in SVG: a box per layer, skips as arcs, and its parts in colors.

    The height of a box grows with the logarithm of the height of its output, and its width with
    the logarithm of the channels; both are written at the box.
    """
    shown = [layer for layer in layers if layer.output]
    tallest = max(layer.output[1] if len(layer.output) == 3 else 1 for layer in shown)
    x, floor, boxes = float(_GAP), _SKY + _TALLEST, dict[str, tuple[float, float]]()
    parts = []
    for layer in shown:
        channels, side, _ = layer.output if len(layer.output) == 3 else (layer.output[-1], 1, 1)
        height = 8 + (_TALLEST - 8) * log2(side) / max(log2(tallest), 1)
        width, top = 6 + 2 * log2(channels), floor - height
        boxes[layer.name] = (x + width / 2, top)
        tip = escape(": ".join(layer.row[:3]))
        parts.append(
            f'<rect x="{x:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" '
            f'fill="{_COLORS[_part(layer)]}"><title>{tip}</title></rect>'
        )
        for text, y in ((side, top - 3), (channels, floor + 11)):
            parts.append(f'<text x="{x + width / 2:.0f}" y="{y:.0f}">{text}</text>')
        for left, high in (boxes[name] for name in layer.skips):
            end, ends = boxes[layer.name]
            parts.append(
                f'<path d="M{left:.0f} {high - 14:.0f} C{left:.0f} 0 {end:.0f} 0 {end:.0f} '
                f'{ends - 14:.0f}" fill="none" stroke="#666"/>'
            )
        x += width + _GAP
    present = [part for part in _COLORS if any(_part(layer) == part for layer in shown)]
    for left, part in zip(range(_GAP, 999, 90), present, strict=False):
        color = f'width="10" height="10" fill="{_COLORS[part]}"/>'
        parts.append(f'<rect x="{left}" y="{floor + 22}" {color}')
        parts.append(f'<text x="{left + 14}" y="{floor + 31}" text-anchor="start">{part}</text>')
    width, height = max(x, _GAP + 90 * len(present)), floor + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        f'style="max-width: {1.5 * width:.0f}px; background: white" font-size="8" '
        f'font-family="sans-serif" text-anchor="middle" role="img"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )
