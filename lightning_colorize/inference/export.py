"""Export of trained networks as graphs that run without this package: ONNX and torch.export."""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from lightning_colorize.color import (
    NO_CONDITION,
    ColorBatch,
    Condition,
    to_lightness,
    to_rgb,
    to_rgb_in_gamut,
)
from lightning_colorize.color.delta_e import ciede2000
from lightning_colorize.color.hints import follow
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import atomic_file
from lightning_colorize.inference.painting import page_settings
from lightning_colorize.inference.reference import Correspondences
from lightning_colorize.models.base import Model
from lightning_colorize.models.exported import ONNX, exportable
from lightning_colorize.models.graph import (
    CONDITIONS,
    CONTENT,
    GIVEN,
    RETURNED,
    GraphModel,
    no_conditions,
    read_graph,
    run_onnx,
    run_program,
)
from lightning_colorize.models.image import colorize_image, seen_side
from lightning_colorize.models.network import NetworkModel
from lightning_colorize.networks import FlowMatching
from lightning_colorize.networks.generative import REDUCTION
from lightning_colorize.networks.network import crop, pad_input, round_up

TOLERANCE, HINTED_TOLERANCE = 1e-3, 1e-2
"""Largest difference from the network, without and with hints as an input, in LAB units."""

MOST_PIXELS = 1e-3
"""Largest share of the pixels of a whole image that differ by more than one grey level."""

INT8_COST = 0.5
"""Maximum CIEDE2000 cost of 8 bits."""


_INTERFACE = {
    "L": "`L`: (batch, 1, height, width), float32, lightness of CIE LAB in 0..100",
    "hints": "`hints`: (batch, 3, height, width), float32: a, b and 1 at hints, else 0",
    "palettes": "`palettes`: (batch, 5, 3), float32: a, b and share of each color, 0 for none",
    "labels": "`labels`: (batch,), int64, -1 for none",
    "ab": "`ab`: (batch, 2, height, width), float32, LAB units",
    "context": "`context`: (batch, channels, height / 8, width / 8), float32",
    "ab_mean": "`ab_mean`: (batch, 2, height / 4, width / 4), float32, LAB units",
    "ab_spread": "`ab_spread`: the same shape, standard deviation in LAB units",
    "x": "`x`: (batch, 2, height / 4, width / 4), float32: (ab - ab_mean) / ab_spread, noisy",
    "time": "`time`: (batch,), float32, 0 for noise to 1 for colors",
    "prediction": "`prediction`: the shape of `x`",
    "image": "`image`: (1, 3, height, width), uint8, sRGB of any size",
    "colored": "`colored`: the same shape and type",
}


class _Graph(nn.Module):
    """A part of a network, with the names of its inputs and outputs."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    examples: Callable[..., tuple[Tensor, ...]]

    def __init__(self, model: NetworkModel) -> None:
        super().__init__()
        self.model: Any = model
        # The modules whose weights are part of the graph.
        self.network, self.scaling = model.network, model.scaling


class NetworkGraph(_Graph):
    """Maps L, (B, 1, H, W) in [0, 100], to ab, (B, 2, H, W) in LAB units.

    With `conditions`, those that the network accepts are further inputs, as in `Condition`. A
    network that samples returns context, mean and spread, see `Encoded`, the latter two in LAB
    units. With `shares`, the last output is `NetworkModel.shares`, if the network has any.
    """

    def __init__(self, model: NetworkModel, conditions: bool = True, shares: bool = False) -> None:
        super().__init__(model)
        accepted = model.conditions if conditions else frozenset()
        if not model.sees_hints:
            accepted -= {"hints"}
        self.inputs = ["L", *(name for name in CONDITIONS if CONDITIONS[name] in accepted)]
        self.outputs = ["context", "ab_mean", "ab_spread"] if model.draws else ["ab"]
        if shares and model.bins is not None:
            self.outputs.append("shares")

    def forward(self, *inputs: Tensor) -> Any:
        """Return ab, or the outputs, for the inputs."""
        L, *conditions = inputs
        condition = Condition(**dict(zip(self.inputs[1:], conditions, strict=True)))  # type: ignore[arg-type]
        model = self.model
        settings = model.settings
        views = model.ask(L, condition, settings, settings.flip)
        if model.draws:
            encoded = views[0].encoded
            mean, spread = map(self.scaling.restore_ab, (encoded.mean, encoded.spread))
            outputs = [encoded.context, mean, spread]
        else:
            outputs = [model.answer(views, L, condition, settings)[0]]
        if "shares" in self.outputs:
            outputs.append(model.shares(views[0])[-L.shape[0] :])
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def examples(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Return inputs with random values."""
        L = _noise(batch, height, width)
        hints, painted = torch.cat([50 - L, L], dim=1), (L > 95).float()
        values = no_conditions(L) | {
            "L": L,
            "hints": torch.cat([hints * painted, painted], dim=1),
            "palettes": _noise(1, 5 * batch, 3).view(batch, 5, 3) / 100,
            "labels": torch.arange(batch) % (len(self.model.label_names) + 1) - 1,
        }
        return tuple(values[name] for name in self.inputs)


class DenoiserGraph(_Graph):
    """Maps x, time and context to the denoiser's prediction, see `Denoiser`."""

    inputs = ("x", "time", "context")
    outputs = ("prediction",)

    def forward(self, *inputs: Tensor) -> Any:
        """Return the prediction, of the shape of x."""
        return self.model.network.denoiser(*inputs)

    def examples(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Return inputs with random values for images of a size."""
        encoded = self.model.predict(_noise(batch, height, width), NO_CONDITION).encoded
        return encoded.mean * 5, torch.linspace(0, 1, batch), encoded.context


class BeforeNetwork(nn.Module):
    """Maps an RGB image, (1, 3, H, W) in uint8, to the network's input and the image itself.

    Equivalent to `network_input` and `predict`. Resizing is a product with matrices of bilinear
    weights, which equals torchvision's antialiased resizing but works for sizes that the graph
    computes. See `Model` for `size` and `multiple`.
    """

    def __init__(self, size: int, multiple: int) -> None:
        super().__init__()
        self.size = size
        self.multiple = multiple

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Return L, (1, 1, h, w) in [0, 100], and the image."""
        height, width = rgb.shape[-2:]
        rows, columns = _seen(height, width, self.size)
        # torchvision rounds after each direction.
        narrow = (rgb.float() @ _weights(width, columns).T).round()
        small = (_weights(height, rows) @ narrow).round().byte()
        padded = round_up(rows, self.multiple), round_up(columns, self.multiple)
        return pad_input(to_lightness(small), *padded), rgb


class AfterNetwork(nn.Module):
    """Maps the network's ab, (1, 2, h, w), and the image to a colorized image of the same size.

    Equivalent to `add_colors`. A network that samples has ab at a quarter of the size; its colors
    follow the hints here, so that L and the hints are inputs, too.
    """

    def __init__(self, model: NetworkModel) -> None:
        super().__init__()
        self.size = model.size

    def forward(
        self, ab: Tensor, rgb: Tensor, L: Tensor | None = None, hints: Tensor | None = None
    ) -> Tensor:
        """Return the colorized image, (1, 3, H, W) in uint8."""
        if L is not None and hints is not None:
            ab = F.interpolate(ab, scale_factor=REDUCTION, mode="bilinear")
            ab = follow(ab, hints, L, ab)
        height, width = rgb.shape[-2:]
        rows, columns = _seen(height, width, self.size)
        down = _weights(rows, height, antialias=False)
        across = _weights(columns, width, antialias=False)
        colored = to_rgb_in_gamut(to_lightness(rgb), down @ crop(ab, rows, columns) @ across.T)
        return (colored * 255).round().byte()


def _seen(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of the network's input for an image."""
    side, short = seen_side(height, width, size), torch.sym_min(height, width)
    return _scaled(height, side, short), _scaled(width, side, short)


def _scaled(pixels: int, side: Any, short: Any) -> int:
    """Return `round(pixels * side / short)`, rounding halves to even as Python does."""
    # Go through tensors: a symbolic formula of sizes would be simplified again in each later step.
    doubled, twice = (torch.full((), n) for n in (2 * pixels * side + short, 2 * short))
    rounded = doubled // twice
    is_half = (doubled % twice == 0).long()
    # Not with `int`, which would make it a constant.
    scaled = cast(int, (rounded - is_half * (rounded % 2)).item())
    torch._check(scaled >= 1)
    return scaled


def _weights(pixels: int, resized: int, antialias: bool = True) -> Tensor:
    """Return the bilinear weights, (resized, pixels), of resizing one side."""
    scale = pixels / resized
    centers = (torch.arange(resized) + 0.5) * scale - 0.5
    distance = (torch.arange(pixels) - centers[:, None]).abs()
    reach: Any = torch.sym_max(scale, 1.0) if antialias else 1.0
    weights: Tensor = (1 - distance / reach).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def export_graph(
    model: Model,
    file: Path,
    image: bool = False,
    calibration: Sequence[ColorBatch] | None = None,
    shares: bool = False,
) -> dict[Path, dict[str, str]]:
    """Write a network as a graph with its decoding; return the written files' rows of a model card.

    A network that samples becomes two graphs, `NAME.encoder.onnx` and `NAME.denoiser.onnx`. A file
    whose difference from the network exceeds `TOLERANCE`, or `INT8_COST` with 8 bits, is refused.

    Args:
        model: A lightning-colorize network, on the CPU.
        file: The file to write or replace, with the suffix `.onnx` or `.pt2`.
        image: Map RGB to RGB instead of L to ab, without conditions; only for ONNX, because
            torch.export takes minutes to load such a file.
        calibration: Two or more color images, to quantize convolutions to 8 bits (ONNX only): half
            of the images determine the ranges, the others measure the cost.
        shares: Also return the distribution of a classification, see `NetworkGraph`.
    """
    model = exportable(model, graph=True)
    if model.draws and (image or calibration is not None):
        raise UsageError(f"{model} samples colors: it has no graph of whole images or in 8 bits")
    if calibration is not None and len(calibration) < 2:
        raise UsageError(f"{file} in 8 bits needs two or more color images")
    # A torch.export program assumes more than one pixel at each level; ONNX assumes nothing.
    least = 1 if file.suffix == ONNX else model.multiple + 1
    if model.size < least:
        raise UsageError(
            f"{file} would refuse images of {model.size} pixels, as this network sees them: give "
            f"--size {least} or more, or export .onnx"
        )
    content = {"image": image, "size": model.size, "multiple": model.multiple, "least": least}
    # The graph contains the current decoding.
    model.color(_noise(1, model.multiple, model.multiple))
    parts = NetworkGraph(model, not image, shares), DenoiserGraph(model)
    graphs = dict(zip(graph_files(file), parts, strict=True)) if model.draws else {file: parts[0]}
    rows = {}
    # Write next to the file; only files that passed the comparison get their names.
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as folder:
        for path, graph in graphs.items():
            own = {"inputs": graph.inputs[1:], "labels": model.label_names, "part": model.draws}
            trial = Path(folder) / path.name
            try:
                if path.suffix != ONNX:
                    extra = {CONTENT: json.dumps(content | own)}
                    torch.export.save(_trace_network(graph), trial, extra_files=extra)
                else:
                    converted = _image_onnx(graph) if image else _network_onnx(graph)
                    trial.write_bytes(_serialize(converted, content | own))
            except Exception as error:  # from torch's tracer, the converters, or any network
                raise _refusal(model, error) from error
            described = _require_equal(model, graph, trial, path, image)
            if calibration is not None:
                described = _quantize(trial, calibration, path, image)
            inputs, outputs = (["image"], ["colored"]) if image else (graph.inputs, graph.outputs)
            rows[path] = {
                "input": "; ".join(_INTERFACE[name] for name in inputs),
                "output": "; ".join(_INTERFACE[name] for name in outputs if name in _INTERFACE),
                "difference from the network": described,
            }
        for path in graphs:
            with atomic_file(path) as opened:
                opened.write((Path(folder) / path.name).read_bytes())
    return rows


def graph_files(file: Path) -> tuple[Path, Path]:
    """Return the files of encoder and denoiser of a network that samples."""
    encoder, denoiser = (file.with_suffix(f".{n}{file.suffix}") for n in ("encoder", "denoiser"))
    return encoder, denoiser


def _trace(graph: nn.Module, *examples: Tensor) -> ExportedProgram:
    """Trace a graph for all sizes, and for all batch sizes if the example has several images.

    torch.export assumes that a dimension of size one never changes.
    """
    dynamic: Any = tuple(
        {
            dim: Dim.DYNAMIC
            for dim in ((0, 2, 3) if example.ndim == 4 else (0,))
            if example.shape[dim] > 1
        }
        for example in examples
    )
    dynamic = (dynamic,) if isinstance(graph, _Graph) else dynamic  # of *inputs
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(graph.eval(), examples, dynamic_shapes=dynamic, strict=False)


def _trace_network(graph: _Graph) -> ExportedProgram:
    # Sizes that are not multiples, so that the graph pads and crops, with several pixels at each
    # level; a denoiser's coarsest is /16.
    multiple = max(graph.model.multiple, 16)
    return _trace(graph, *graph.examples(2, 2 * multiple + 6, 3 * multiple + 5))


def _refusal(model: Model, error: Exception) -> UsageError:
    reason = str(error).strip().partition("\n")[0]
    return UsageError(f"{model} cannot be exported as a graph: {reason}")


def _noise(batch: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 1, height, width, generator=generator) * 100


def _smooth(height: int, width: int) -> Tensor:
    """Return an image of soft spots, (1, 3, H, W), uint8."""
    spots = F.interpolate(_noise(1, 7, 9), (height, width), mode="bicubic").mul(2.55)
    return spots.clamp(0, 255).byte().repeat(1, 3, 1, 1)


def _textured(height: int, width: int) -> Tensor:
    """Return an image whose details are lost at the network's resolution, (1, 3, H, W), uint8."""
    return (_noise(1, height, width) * 2.55).byte().expand(-1, 3, -1, -1).contiguous()


def _onnx(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    exported = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=inputs, output_names=outputs
    )
    assert exported is not None  # without a path
    return exported.model_proto


def _network_onnx(graph: _Graph) -> Any:
    return _onnx(_trace_network(graph), graph.inputs, graph.outputs)


def _image_onnx(graph: _Graph) -> Any:
    """Return an ONNX model for whole images.

    It is traced in parts: otherwise the image sizes would pass through the network as long
    formulas, which takes minutes.
    """
    from onnx.compose import merge_models
    from onnx.helper import make_opsetid

    first, last = _around(graph.model)
    network = _network_onnx(graph)
    joined = merge_models(first, network, [(GIVEN, "L")], prefix2="network/")
    pairs = [(RETURNED, "ab"), ("same_image", "image")]
    joined = merge_models(joined, last, pairs, prefix2="after/")
    # Each part lists its operators' versions, which quantization accepts only once.
    versions = {opset.domain: opset.version for opset in joined.opset_import}
    del joined.opset_import[:]
    joined.opset_import.extend(make_opsetid(*version) for version in versions.items())
    joined.graph.node[-1].output[0] = joined.graph.output[0].name = "colored"
    del joined.graph.value_info[:]  # sizes of different parts have the same names
    return joined


def _around(model: NetworkModel) -> tuple[Any, Any]:
    """Return the ONNX models before and after a network, which convert whole images."""
    image = _smooth(2 * model.multiple + 6, 3 * model.multiple + 5)
    before, after = BeforeNetwork(model.size, model.multiple), AfterNetwork(model)
    seen, _ = before(image)
    reduction = REDUCTION if model.draws else 1
    rows, columns = (side // reduction for side in seen.shape[-2:])
    given = [_noise(2, rows, columns).view(1, 2, rows, columns), image]
    names = ["ab", "image"]
    if model.draws:
        given += [seen, torch.cat([seen, -seen, (seen > 50).float()], dim=1)]
        names += ["L", "hints"]
    return (
        _onnx(_trace(before, image), ["image"], ["L", "same_image"]),
        _onnx(_trace(after, *given), names, ["colored"]),
    )


def write_around(model: Model, folder: Path) -> dict[str, Any]:
    """Write the graphs before and after a network for a web page; return the page's settings."""
    model = exportable(model, graph=True)
    objective = getattr(model.network, "objective", None)
    if not isinstance(objective, FlowMatching | None):
        raise UsageError(
            f"{model}: a page samples by FlowMatching, not by {type(objective).__name__}"
        )
    follows = model.sees_hints or model.draws  # else the graph has no such input
    graphs = dict(zip(("before", "after"), _around(model), strict=True))
    if follows:
        program = _trace(Correspondences(), _smooth(96, 160), _smooth(128, 192))
        graphs["reference"] = _onnx(program, ["image", "reference"], ["hints", "grey"])
    for name, graph in graphs.items():
        with atomic_file(folder / f"{name}{ONNX}") as opened:
            opened.write(graph.SerializeToString())
    return {
        **page_settings(model),
        "hints": follows,
        "reference": follows,
        **model.settings.values(),
        "inputs": NetworkGraph(model).inputs,
        "centers": None if model.bins is None else model.bins.centers.tolist(),
    }


def _serialize(model: Any, content: dict[str, Any]) -> bytes:
    names = {2: "height", 3: "width"}
    for value in (*model.graph.input, *model.graph.output):
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param:
                dim.dim_param = names.get(index, "batch")
    entry = model.metadata_props.add()
    entry.key, entry.value = CONTENT, json.dumps(content)
    serialized: bytes = model.SerializeToString()
    return serialized


@torch.no_grad()
def _require_equal(model: NetworkModel, graph: _Graph, trial: Path, file: Path, image: bool) -> str:
    """Describe the difference between a file, which is still named `trial`, and its network."""
    multiple, size = model.multiple, model.size
    try:
        run, _ = (run_onnx if trial.suffix == ONNX else run_program)(trial)
        if image:
            images = [_smooth(2 * size + 5, 3 * size), _textured(size + 33, 2 * size)]
            off = [
                ((run(rgb).int() - colorize_image(model, rgb[0], size)).abs() > 1) for rgb in images
            ]
            difference = max(float(each.any(1).float().mean()) for each in off)
            most = MOST_PIXELS
            described = f"{difference:.2g} of the pixels by more than one grey level"
        else:
            shapes = (1, size, size), (3, 2 * multiple + 177, multiple + 155)
            off = []
            for values in (graph.examples(*shape) for shape in shapes):
                both = run(*values), graph(*values)
                own, exact = ([each] if isinstance(each, Tensor) else each for each in both)
                off += [a - b for a, b in zip(own, exact, strict=True)]
            difference = max(float(each.abs().max()) for each in off)
            most = HINTED_TOLERANCE if "hints" in graph.inputs else TOLERANCE
            described = f"{difference:.2g} LAB units at most"
    except Exception as error:  # from the libraries that run graphs
        raise _refusal(model, error) from error
    if not difference <= most:
        raise UsageError(
            f"{file} is not written: it would differ from the network: {described}; accepted: "
            f"{most:g}"
        )
    return described


def _quantize(source: Path, images: Sequence[ColorBatch], file: Path, image: bool) -> str:
    """Replace an ONNX file by one with 8-bit convolutions, and describe the cost."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    def inputs(batch: ColorBatch) -> dict[str, Any]:
        if image:
            return {"image": (to_rgb(batch.L, 0 * batch.ab) * 255).round().byte().numpy()}
        given = {"L": batch.L} | no_conditions(batch.L)
        return {name: given[name].numpy() for name in ("L", *exact.inputs)}

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            return next(left, None)

    exact, target = read_graph(source), source.with_name(f"int8{ONNX}")
    left = map(inputs, images[::2])
    root = logging.getLogger()  # which receives the library's advice
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        quantize_static(
            source,
            target,
            Reader(),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,  # 7 bits: sums of 8-bit products overflow on CPUs without VNNI
        )
    finally:
        root.setLevel(level)
    target.replace(source)
    before, after = (_ciede2000(graph, images[1::2]) for graph in (exact, read_graph(source)))
    described = f"CIEDE2000 {after:.3f} instead of {before:.3f} on {len(images[1::2])} images"
    if not after - before <= INT8_COST:
        raise UsageError(
            f"{file} is not written: 8 bits cost too much, {described}; accepted: {INT8_COST:g}"
        )
    return described


@torch.no_grad()
def _ciede2000(graph: GraphModel, images: Sequence[ColorBatch]) -> float:
    values = [ciede2000((b.L, graph.color(b.L)[0]), (b.L, b.ab)).mean() for b in images]
    return float(torch.stack(values).mean())
