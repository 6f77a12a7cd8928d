"""Exported graphs, ONNX files and programs of torch.export, in place of a network."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from lightning_colorize.color import ColorBatch, to_grey, to_lab
from lightning_colorize.common.errors import UsageError
from lightning_colorize.networks.colorizer import pad_input
from lightning_colorize.tasks.base import ColorizationTask
from lightning_colorize.tasks.exported import ONNX

CONTENT = "lightning_colorize"
"""Key of a file's metadata for what `Graph` describes, as JSON."""

_DTYPES = {"tensor(uint8)": torch.uint8, "tensor(float16)": torch.float16}
"""Of ONNX; others take fp32."""

Run = Callable[[Tensor], Tensor]

LARGEST = 2**14
"""Most pixels of the side that a network sees."""


class Graph(nn.Module):
    """A graph that was exported from a network; it runs on the CPU.

    Args:
        run: From L in [0, 100] to ab in LAB units, or from RGB to RGB, both uint8 and of any size.
        image: It is from RGB to RGB.
        multiple: As of `networks.Colorizer`.
        least: The smallest height and width that it takes; smaller images are padded.
    """

    head = None

    def __init__(self, run: Run, image: bool, multiple: int, least: int) -> None:
        super().__init__()
        self.run = run
        self.image = image
        self.multiple = multiple
        self.least = least

    def forward(self, L: Tensor) -> Tensor:
        """Return ab in LAB units, (B, 2, H, W), for L: (B, 1, H, W) in [0, 100]."""
        height, width = L.shape[-2:]
        padded = pad_input(L.cpu(), max(height, self.least), max(width, self.least))
        ab = self._from_images(padded) if self.image else self.run(padded)
        return ab[..., :height, :width].to(L.device)

    def _from_images(self, L: Tensor) -> Tensor:
        """Return ab of the colored images, which have reduced the colors outside sRGB."""
        grey = (to_grey(L) * 255).round().byte()
        return torch.cat([to_lab(self.run(rgb[None]))[1] for rgb in grey])


class GraphTask(ColorizationTask):
    """The task of an exported graph, without a loss: it predicts and is tested."""

    net: Graph  # type: ignore[assignment]

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.net = graph

    def predict(self, L: Tensor, net: nn.Module | None = None) -> Tensor:
        """Return ab in LAB units for L: (B, 1, H, W) in [0, 100]."""
        ab: Tensor = self.net(L)
        return ab

    def decode(self, prediction: Tensor, size: object) -> Tensor:
        """Return the prediction, which is ab already."""
        return prediction

    def validation_loss(self, prediction: Tensor, batch: ColorBatch) -> NoReturn:
        """Raise an error: an exported graph has no loss."""
        raise TypeError("an exported graph has no loss: train with RegressionTask or CGANTask")


def read_graph(file: Path) -> tuple[GraphTask, dict[str, Any]]:
    """Return the task of an exported graph, and what its metadata says.

    A program of torch.export is unpickled: read only those whose origin is trusted.

    Raises:
        UsageError: If there is no such file, it is damaged or not of this package, or a library is
            missing.
    """
    if not file.is_file():
        raise UsageError(f"{file} does not exist")
    try:
        run, text = (run_onnx if file.suffix == ONNX else run_program)(file)
        content = json.loads(text or "")
        numbers = [content[name] for name in ("size", "multiple", "least")]
        if not all(type(number) is int and 1 <= number <= LARGEST for number in numbers):
            raise ValueError("no numbers of pixels")
        graph = Graph(run, bool(content["image"]), *numbers[1:])
    except UsageError:
        raise
    except Exception as error:  # a damaged file makes the libraries raise nearly any class
        raise UsageError(f"{file} is damaged, or not exported by lightning-colorize") from error
    return GraphTask(graph), content


def run_onnx(file: Path) -> tuple[Run, str | None]:
    """Return a function that runs an ONNX file on the CPU, and its metadata of ours, if any.

    Raises:
        UsageError: If onnxruntime is missing.
        Exception: Of nearly any class, if it is damaged.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            f"{file} needs onnxruntime: pip install 'lightning-colorize[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Not the path: weights beside the file are in no digest.
    session = onnxruntime.InferenceSession(
        file.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()

    dtype = _DTYPES.get(given.type, torch.float32)

    def run(values: Tensor) -> Tensor:
        values = values if dtype.is_floating_point else values.round()
        return torch.from_numpy(session.run(None, {given.name: values.to(dtype).numpy()})[0])

    return run, session.get_modelmeta().custom_metadata_map.get(CONTENT)


def run_program(file: Path) -> tuple[Run, str | None]:
    """Return a function that runs a program of torch.export, which is unpickled, and its metadata.

    Raises:
        Exception: Of nearly any class, if it is damaged.
    """
    if not zipfile.is_zipfile(file):
        raise ValueError("no archive")
    extra = {CONTENT: ""}
    module = torch.export.load(file, extra_files=extra).module()

    def run(values: Tensor) -> Tensor:
        # Not as a submodule: it refuses `eval`.
        result: Tensor = module(values)
        return result

    return run, extra[CONTENT]
