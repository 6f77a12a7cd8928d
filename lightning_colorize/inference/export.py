"""Trained networks as graphs that run without this package: ONNX, and programs of torch.export."""

import io
import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from lightning_colorize.color import (
    ColorBatch,
    to_lightness,
    to_rgb,
    to_rgb_in_gamut,
)
from lightning_colorize.color.delta_e import ciede2000
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import atomic_file, temporary_beside
from lightning_colorize.inference.colorizer import Colorizer
from lightning_colorize.networks.colorizer import crop, pad_input, round_up
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.tasks.exported import ONNX
from lightning_colorize.tasks.graph import CONTENT, GraphTask, read_graph
from lightning_colorize.tasks.prediction import colorize_image, seen_side

TOLERANCE = 1e-3
"""Largest difference from the network, in LAB units; of an image, in shares of its pixels."""

INT8_COST = 0.1
"""Most CIEDE2000 that 8 bits may cost."""


class NetworkGraph(nn.Module):
    """From L, (B, 1, H, W) in [0, 100], to ab, (B, 2, H, W) in LAB units."""

    def __init__(self, task: ColorizationTask) -> None:
        super().__init__()
        self.task = task

    def forward(self, L: Tensor) -> Tensor:
        """Return ab."""
        ab: Tensor = self.task(L)
        return ab


class ImageGraph(nn.Module):
    """From an RGB image, (1, 3, H, W) in uint8, to the colored image of the same size.

    It does what `colorize_image` does. Resizing is a product with matrices of bilinear weights,
    which equals torchvision's antialiased resizing at sizes that the graph computes.

    Args:
        task: In evaluation mode.
        size: Pixels of the short side that the network sees.
    """

    def __init__(self, task: ColorizationTask, size: int) -> None:
        super().__init__()
        self.task = task
        self.size = size

    def forward(self, rgb: Tensor) -> Tensor:
        """Return the colored image."""
        height, width = rgb.shape[-2:]
        side, short = seen_side(height, width, self.size), torch.sym_min(height, width)
        rows, columns = (_scaled(pixels, side, short) for pixels in (height, width))
        # torchvision rounds after each direction.
        narrow = (rgb.float() @ _weights(width, columns).T).round()
        small = (_weights(height, rows) @ narrow).round().byte()
        multiple = self.task.net.multiple
        padded = pad_input(
            to_lightness(small), round_up(rows, multiple), round_up(columns, multiple)
        )
        ab = crop(self.task(padded), rows, columns)
        ab = (
            _weights(rows, height, antialias=False)
            @ ab
            @ _weights(columns, width, antialias=False).T
        )
        colored = to_rgb_in_gamut(to_lightness(rgb), ab)
        return (colored * 255).round().byte()


def _scaled(pixels: int, side: Any, short: Any) -> Any:
    """Return `round(pixels * side / short)`, to even at halves as Python does."""
    doubled = 2 * pixels * side + short
    rounded = doubled // (2 * short)
    is_half = 1 - torch.sym_min(1, doubled % (2 * short))
    return rounded - is_half * (rounded % 2)


def _weights(pixels: int, resized: int, antialias: bool = True) -> Tensor:
    """Return the bilinear weights, (resized, pixels), of resizing one side."""
    scale = pixels / resized
    centers = (torch.arange(resized) + 0.5) * scale - 0.5
    distance = (torch.arange(pixels) - centers[:, None]).abs()
    reach: Any = torch.sym_max(scale, 1.0) if antialias else 1.0
    weights: Tensor = (1 - distance / reach).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def export_graph(
    model: Colorizer,
    file: Path,
    image: bool = False,
    calibration: Sequence[ColorBatch] | None = None,
) -> str:
    """Write a network as a graph with its decoding, and compare the file with the network.

    Args:
        model: On the CPU.
        file: The file to write or replace, with the suffix `.onnx` or `.pt2`.
        image: From RGB to RGB, and not from L to ab; for ONNX, as torch.export takes minutes to
            read it.
        calibration: Two or more images in color: convolutions are in 8 bits (ONNX only), whose
            ranges are taken from half of the images and whose cost is measured on the others.

    Returns:
        The difference between file and network.

    Raises:
        UsageError: If a library is missing, the network cannot be exported, or the difference is
            above `TOLERANCE`, with 8 bits above `INT8_COST`.
    """
    task = model.task
    if isinstance(task, GraphTask):
        raise UsageError(f"{model.path} is an exported graph; export its checkpoint again")
    if calibration is not None and len(calibration) < 2:
        raise UsageError(f"{file} in 8 bits needs two or more images in color")
    graph: nn.Module = ImageGraph(task, model.size) if image else NetworkGraph(task)
    program = _trace(graph.eval(), image, model)
    content = {
        "image": image,
        "size": model.size,
        "multiple": task.net.multiple,
        # A program assumes more than one pixel at each level; ONNX assumes nothing.
        "least": 1 if file.suffix == ONNX else task.net.multiple + 1,
    }
    try:
        written = (_onnx if file.suffix == ONNX else _archive)(program, content)
    except UsageError:
        raise
    except Exception as error:  # of the converters
        raise _refusal(model.path, error) from error
    # Beside the file: only what has been compared takes its name.
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as folder:
        trial = Path(folder) / file.name
        trial.write_bytes(written)
        described = _require_equal(model, read_graph(trial)[0], file)
        if calibration is not None:
            small = Path(folder) / f"int8{ONNX}"
            described = _quantize(trial, small, calibration, file)
            written = small.read_bytes()
    with atomic_file(file, temporary_beside(file)) as opened:
        opened.write(written)
    return described


def _trace(graph: nn.Module, image: bool, model: Colorizer) -> ExportedProgram:
    """Return a graph as a program for all sizes."""
    # Several pixels at each level, and a batch of two: a program assumes that a single one never
    # changes. No multiples of anything: the graph must pad and crop.
    multiple = model.task.net.multiple
    height, width = 2 * multiple + 6, 3 * multiple + 5
    example = _smooth(height, width) if image else _noise(2, height, width)
    dynamic = {2: Dim.DYNAMIC, 3: Dim.DYNAMIC} | ({} if image else {0: Dim.DYNAMIC})
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(graph, (example,), dynamic_shapes=(dynamic,), strict=False)
    except Exception as error:  # of torch's tracer, and of any network
        raise _refusal(model.path, error) from error


def _refusal(path: Path, error: Exception) -> UsageError:
    reason = str(error).strip().partition("\n")[0]
    return UsageError(f"{path} cannot be exported as a graph: {reason}")


def _noise(batch: int, height: int, width: int) -> Tensor:
    """Return L of images of noise."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 1, height, width, generator=generator) * 100


def _smooth(height: int, width: int) -> Tensor:
    """Return an image of soft spots, (1, 3, H, W), uint8."""
    spots = F.interpolate(_noise(1, 7, 9), (height, width), mode="bicubic").mul(2.55)
    return spots.clamp(0, 255).byte().repeat(1, 3, 1, 1)


def _onnx(program: ExportedProgram, content: dict[str, Any]) -> bytes:
    """Return an ONNX file."""
    sides = {2: "height", 3: "width"}
    names = ("image", "colored") if content["image"] else ("L", "ab")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=names[:1],
            output_names=names[1:],
        )
    except ImportError as error:
        raise UsageError(
            f"ONNX files need {error.name}: pip install 'lightning-colorize[onnx]'"
        ) from None
    assert exported is not None  # without a path
    model = exported.model_proto
    for value in (*model.graph.input, *model.graph.output):
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param:
                dim.dim_param = sides.get(index, "batch")
    entry = model.metadata_props.add()
    entry.key, entry.value = CONTENT, json.dumps(content)
    serialized: bytes = model.SerializeToString()
    return serialized


def _archive(program: ExportedProgram, content: dict[str, Any]) -> bytes:
    """Return a file of torch.export."""
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={CONTENT: json.dumps(content)})
    return archive.getvalue()


@torch.no_grad()
def _require_equal(model: Colorizer, task: GraphTask, file: Path) -> str:
    """Return how far a file that was read is from its network."""
    multiple, size = task.net.multiple, model.size
    try:
        if task.net.image:
            images = [_smooth(2 * size + 5, 3 * size), _smooth(size + 33, size)]
            off = [
                ((task.net.run(rgb).int() - colorize_image(model.task, rgb[0], size)).abs() > 1)
                for rgb in images
            ]
            difference = max(float(each.any(1).float().mean()) for each in off)
            described = f"{difference:.2g} of the pixels by more than one grey level"
        else:
            shapes = (1, multiple + 1, 2 * multiple + 1), (3, 2 * multiple + 177, multiple + 155)
            inputs = [_noise(*shape) for shape in shapes]
            difference = max(float((task.net(L) - model.task(L)).abs().max()) for L in inputs)
            described = f"{difference:.2g} LAB units at most"
    except Exception as error:  # of the libraries that run graphs
        raise _refusal(model.path, error) from error
    if not difference <= TOLERANCE:
        raise UsageError(
            f"{file} is not written: it would differ from the network: {described}; accepted: "
            f"{TOLERANCE:g}"
        )
    return described


def _quantize(source: Path, target: Path, images: Sequence[ColorBatch], file: Path) -> str:
    """Write an ONNX file with convolutions in 8 bits, and return what this costs."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    task = read_graph(source)[0]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(images[::2])

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.left, None)
            if batch is None:
                return None
            if not task.net.image:
                return {"L": batch.L.numpy()}
            return {"image": (to_rgb(batch.L, 0 * batch.ab) * 255).round().byte().numpy()}

    root = logging.getLogger()  # to which the library's advice goes
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        quantize_static(source, target, Reader(), op_types_to_quantize=["Conv"], per_channel=True)
    finally:
        root.setLevel(level)
    before, after = (_ciede2000(read_graph(path)[0], images[1::2]) for path in (source, target))
    described = f"CIEDE2000 {after:.3f} instead of {before:.3f} on {len(images[1::2])} images"
    if not after - before <= INT8_COST:
        raise UsageError(
            f"{file} is not written: 8 bits cost too much, {described}; accepted: {INT8_COST:g}"
        )
    return described


@torch.no_grad()
def _ciede2000(task: GraphTask, images: Sequence[ColorBatch]) -> float:
    """Return the mean color difference from the truth."""
    values = [ciede2000((b.L, task(b.L)), (b.L, b.ab)).mean() for b in images]
    return float(torch.stack(values).mean())
