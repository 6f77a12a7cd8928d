"""Exported graphs (ONNX files and torch.export programs) as models."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_colorize.color import Condition
from lightning_colorize.color.palette import LARGEST as LARGEST_PALETTE
from lightning_colorize.common.errors import UsageError, WorkError, first_line
from lightning_colorize.common.extras import require_extra
from lightning_colorize.common.memory import is_out_of_memory
from lightning_colorize.models.base import Model
from lightning_colorize.models.exported import ONNX
from lightning_colorize.models.settings import Settings
from lightning_colorize.networks.network import pad_input

CONTENT = "lightning_colorize"
"""Metadata key for the size and shape of a file's input, as JSON."""

GIVEN, RETURNED = "L", "network/ab"
"""Names of the network's input and output inside the graph of a whole image."""

CONDITIONS = {"hints": "hints", "palettes": "palette", "labels": "label"}
"""Conditions by the names of their inputs, which are the fields of `Condition`."""

_DTYPES = {
    "tensor(uint8)": torch.uint8,
    "tensor(float16)": torch.float16,
    "tensor(int64)": torch.int64,
}
"""Of ONNX; others take fp32."""

Run = Callable[..., Any]
"""Returns a tensor, or a sequence of several."""


class GraphModel(Model):
    """A graph that was exported from a network and runs on the CPU.

    `run` maps L in [0, 100] to ab in LAB units, both of any size; `inputs` are the inputs of its
    `CONDITIONS` that follow L. Images with a side below `least` are padded; see `Model` for
    `multiple`.
    """

    def __init__(
        self,
        run: Run,
        multiple: int,
        least: int,
        inputs: Sequence[str] = (),
        label_names: Sequence[str] = (),
    ) -> None:
        self.run = run
        self.inputs = inputs
        self.conditions = Model.conditions.union(CONDITIONS[name] for name in inputs)
        self.label_names = label_names
        self.multiple = multiple
        self.least = least

    def predict(self, L: Tensor, condition: Condition) -> Tensor:
        """Return ab in LAB units, (B, 2, H, W)."""
        height, width = L.shape[-2:]
        size = max(height, self.least), max(width, self.least)
        padded = pad_input(L.cpu(), *size)
        given = no_conditions(padded)
        for name in self.inputs:
            if (value := getattr(condition, name)) is not None:
                given[name] = pad_input(value.cpu(), *size) if name == "hints" else value.cpu()
        try:
            returned = self.run(padded, *(given[name] for name in self.inputs))
            ab: Tensor = returned if isinstance(returned, Tensor) else returned[0]
        except Exception as error:  # a graph may raise any class
            if is_out_of_memory(error):
                raise
            raise WorkError(f"{self} failed: {first_line(error)}") from error
        if ab.shape != (len(L), 2, *padded.shape[-2:]):
            raise WorkError(
                f"{self} returned values of shape {tuple(ab.shape)}, not of ab for "
                f"{tuple(padded.shape)}"
            )
        return ab[..., :height, :width].to(L.device)

    def ask(self, L: Tensor, condition: Condition, settings: Settings, flip: bool) -> list[Any]:
        """Return the views of images for `answer`."""
        if "hints" not in self.inputs:
            return super().ask(L, condition, settings, flip)
        return self.views(L, self.condition_for(condition, settings), flip)

    def answer(self, views: Sequence[Any], L: Tensor, condition: Condition, *args: Any) -> Tensor:
        """Return the colorings; a graph with hints as an input follows them by itself."""
        if "hints" in self.inputs:
            condition = condition._replace(hints=None)
        return super().answer(views, L, condition, *args)


def no_conditions(L: Tensor) -> dict[str, Tensor]:
    """Return the inputs of `CONDITIONS` for images without any; L is (B, 1, H, W)."""
    count, _, height, width = L.shape
    return {
        "hints": torch.zeros(count, 3, height, width),
        "palettes": torch.zeros(count, LARGEST_PALETTE, 3),
        "labels": torch.full((count,), -1),
    }


def read_graph(file: Path) -> GraphModel:
    """Return the model of an exported graph; from the graph of a whole image, only its network.

    torch.export programs are unpickled: read only files whose origin you trust.
    """
    if not file.is_file():
        raise UsageError(f"{file} does not exist")
    try:
        run, text = (run_onnx if file.suffix == ONNX else run_program)(file)
        content = json.loads(text or "")
        if content.get("part"):
            raise UsageError(
                f"{file} is part of a network that samples, for other programs; use its checkpoint "
                "or export it as .safetensors"
            )
        size, multiple, least = (content[name] for name in ("size", "multiple", "least"))
        run = run_onnx(file, network=True)[0] if content["image"] else run
        inputs, names = (list(map(str, content.get(key, ()))) for key in ("inputs", "labels"))
        graph = GraphModel(run, multiple, least, inputs, names)
        graph.size, graph.path = size, file
    except UsageError:
        raise
    except Exception as error:  # a damaged file makes the libraries raise nearly any class
        raise UsageError(f"{file} is damaged, or not exported by lightning-colorize") from error
    return graph


def run_onnx(file: Path, network: bool = False) -> tuple[Run, str | None]:
    """Return a function that runs an ONNX file on the CPU, and this package's metadata, if any.

    With `network`, it runs only the network in the graph of a whole image.

    Raises:
        Exception: Of nearly any class, if the file is damaged.
    """
    require_extra("onnx", str(file), "onnxruntime", "onnx")
    import onnxruntime

    # Not the path: the digest does not cover external weights.
    content = _network_of(file.read_bytes()) if network else file.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    dtypes = {given.name: _DTYPES.get(given.type, torch.float32) for given in session.get_inputs()}

    def run(*values: Tensor) -> Any:
        feeds = {
            name: (each if dtype.is_floating_point else each.round()).to(dtype).numpy()
            for (name, dtype), each in zip(dtypes.items(), values, strict=True)
        }
        returned = [torch.from_numpy(each) for each in session.run(None, feeds)]
        return returned if len(returned) > 1 else returned[0]

    return run, session.get_modelmeta().custom_metadata_map.get(CONTENT)


def _network_of(whole: bytes) -> bytes:
    """Return the network in the ONNX graph of a whole image, from L to ab."""
    from onnx import TensorProto, load_from_string, utils
    from onnx.helper import make_tensor_value_info

    model = load_from_string(whole)
    del model.graph.value_info[:]  # of one image
    for name in (GIVEN, RETURNED):
        known = make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)
        model.graph.value_info.append(known)
    part: bytes = utils.Extractor(model).extract_model([GIVEN], [RETURNED]).SerializeToString()
    return part


def run_program(file: Path) -> tuple[Run, str | None]:
    """Return a function that runs a torch.export program, which is unpickled, and its metadata.

    Raises:
        Exception: Of nearly any class, if it is damaged.
    """
    if not zipfile.is_zipfile(file):
        raise ValueError("no archive")
    extra = {CONTENT: ""}
    return torch.export.load(file, extra_files=extra).module(), extra[CONTENT]
