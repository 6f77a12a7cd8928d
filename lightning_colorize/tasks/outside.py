"""Colorizers of other programs, described by a YAML file, in place of a network."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from torch import Tensor
from torchvision.io import encode_png
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import to_grey, to_lab, to_lightness, to_unit
from lightning_colorize.common.described import read_described
from lightning_colorize.common.digest import sha256_of, sha256_of_files
from lightning_colorize.common.errors import UsageError, WorkError, first_line
from lightning_colorize.common.files import files_below
from lightning_colorize.data.decoding.files import ImageError, read_bytes, read_header, read_image
from lightning_colorize.networks.colorizer import pad_input, round_up
from lightning_colorize.tasks.diffusion import run_pipeline
from lightning_colorize.tasks.exported import ONNX, PROGRAM
from lightning_colorize.tasks.graph import LARGEST, Graph, GraphTask, Run, run_onnx, run_program

SUFFIXES = (".yaml", ".yml")

_TORCHSCRIPT = (".pt", ".ts", ".torchscript")
_CHANNELS = {"L": 1, "grey": 3, "ab": 2, "rgb": 3}


class Values(BaseModel):
    """The form of a program's input or output, and its range: natural = value * std + mean.

    Attributes:
        form: `L` in 0..100, `grey` as RGB in 0..1, `ab` in LAB units, or `rgb` in 0..1.
        mean: One number, or one for each channel.
        std: The same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal["L", "grey", "ab", "rgb"]
    mean: list[FiniteFloat] = [0.0]
    std: list[FiniteFloat] = [1.0]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not {len(self.mean), len(self.std)} <= {1, _CHANNELS[self.form]}:
            raise ValueError(
                f"{self.form} has mean and std for 1 or {_CHANNELS[self.form]} channels"
            )
        if not all(self.std):
            raise ValueError("std must not be 0")
        return self

    def normalize(self, natural: Tensor) -> Tensor:
        """Return the values that the program takes; (B, C, H, W)."""
        return (natural - _per_channel(self.mean)) / _per_channel(self.std)

    def restore(self, values: Tensor) -> Tensor:
        """Return natural values of the program's output; (B, C, H, W)."""
        return values * _per_channel(self.std) + _per_channel(self.mean)


class Outside(BaseModel):
    """A program, as its file describes it.

    Attributes:
        weights: ONNX (.onnx), a program of torch.export (.pt2) or TorchScript (.pt); relative to
            the file. None for a command.
        sha256: Of the weights, or of the pipeline's files, as `sha256_of_files` returns it.
        command: Colors a folder of PNGs: `python their.py {input} {output}`. None for weights.
        pipeline: Folder of a pipeline of diffusers, from image to image; relative to the file.
        image: The argument of its call that takes the grey image.
        call: Its further arguments.
        seed: Of the generator of each image.
        input: What the weights take.
        output: What they return.
        size: Pixels of the short side that the program sees.
        square: Images are stretched to squares of this size.
        multiple: Of which height and width must be, if they are no squares.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path | None = None
    sha256: str | None = None
    command: str | None = None
    pipeline: Path | None = None
    image: str = "image"
    call: dict[str, Any] = {}
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    input: Values = Values(form="grey")
    output: Values = Values(form="rgb")
    size: Annotated[int, Field(ge=16, le=LARGEST)] = 256
    square: bool = False
    multiple: Annotated[int, Field(ge=1, le=512)] = 1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        programs = (self.weights, self.command, self.pipeline)
        if sum(program is not None for program in programs) != 1:
            raise ValueError("give weights, a command or a pipeline")
        others = {"image", "call", "seed"} if self.pipeline is None else {"input", "output"}
        if given := sorted(others & self.model_fields_set):
            raise ValueError(f"{given[0]} is not a key of this kind of program")
        if own := sorted({self.image, "generator"} & self.call.keys()):
            raise ValueError(f"call must not contain {own[0]}, which is given for each image")
        if self.input.form not in ("L", "grey") or self.output.form not in ("ab", "rgb"):
            raise ValueError("the input is L or grey, the output ab or rgb")
        if self.command is not None and not {"{input}", "{output}"} <= set(
            shlex.split(self.command)
        ):
            raise ValueError("command must contain the words {input} and {output}")
        if self.command is not None and self.sha256 is not None:
            raise ValueError("sha256 is that of weights or of a pipeline, not of a command")
        return self


class OutsideNetwork(Graph):
    """A program in the place of a network.

    Args:
        run: From values as the program takes them, (1, C, h, w), to those that it returns.
        outside: Its description.
    """

    def __init__(self, run: Run, outside: Outside) -> None:
        multiple = 1 if outside.square else outside.multiple
        super().__init__(run, outside.output.form == "rgb", multiple, multiple)
        self.outside = outside

    def forward(self, L: Tensor) -> Tensor:
        """Return ab in LAB units, (B, 2, H, W), for L: (B, 1, H, W) in [0, 100]."""
        ab = torch.cat([self._ab(self._colored(each[None].cpu())) for each in L])
        return _resized(ab, L.shape[-2:]).to(L.device)

    @torch.inference_mode()
    def color(self, rgb: Tensor) -> Tensor:
        """Color an image with the program's own lightness, if it has any.

        Args:
            rgb: (3, H, W), uint8.

        Returns:
            The same shape, uint8, enlarged from what the program returned.

        Raises:
            FloatingPointError: If a value is not finite.
        """
        L = to_lightness(rgb[None])
        scale = self.outside.size / min(rgb.shape[-2:])
        height, width = (max(1, round(edge * scale)) for edge in rgb.shape[-2:])
        seen = pad_input(
            _resized(L, [height, width]),
            round_up(height, self.multiple),
            round_up(width, self.multiple),
        )
        # The result may be smaller than what it was made of.
        colored = _resized(self._colored(seen), seen.shape[-2:])[..., :height, :width]
        if not colored.isfinite().all():
            raise FloatingPointError("the program returns colors that are not finite")
        return (_resized(colored, rgb.shape[-2:])[0].clamp(0, 1) * 255).round().byte()

    def _colored(self, L: Tensor) -> Tensor:
        """Return what the program returns, in natural values; (1, 2 or 3, h, w)."""
        outside = self.outside
        if outside.square:
            L = _resized(L, [outside.size, outside.size])
        natural = to_grey(L) if outside.input.form == "grey" else L
        try:
            returned = self.run(outside.input.normalize(natural).contiguous()).float()
        except (UsageError, WorkError):
            raise
        except Exception as error:  # of any class that a program may raise
            raise WorkError(f"the program failed: {first_line(error)}") from None
        channels = 3 if self.image else 2
        if returned.ndim != 4 or returned.shape[1] != channels:
            raise WorkError(
                f"the program returned values of shape {tuple(returned.shape)}, "
                f"not (1, {channels}, height, width) as its output {outside.output.form} has"
            )
        return outside.output.restore(returned)

    def _ab(self, colored: Tensor) -> Tensor:
        return to_lab(colored.clamp(0, 1))[1] if self.image else colored


def read_outside(
    file: Path, may_run: Callable[[str], None], device: torch.device
) -> tuple[GraphTask, int]:
    """Return the task of another program, and the size that it sees.

    Args:
        file: The YAML file.
        may_run: Called with what the user must allow: `command`, `torch.export` or `torch.jit`;
            raises `UsageError` if it is not.
        device: Of a pipeline; other programs choose their own.

    Raises:
        UsageError: If the file is wrong, or the weights are missing or others.
    """
    outside = read_described(file, Outside)
    if outside.command is not None:
        may_run("command")
        # Now, not after the images are read.
        if shutil.which(program := shlex.split(outside.command)[0]) is None:
            raise UsageError(f"{file}: there is no program {program} that can be executed")
        run = _run_command(outside.command)
    elif outside.pipeline is not None:
        folder = file.parent / outside.pipeline
        if not folder.is_dir():
            raise UsageError(f"{file}: {folder} is no folder")
        _require_digest(file, outside, folder, sha256_of_files(folder, files_below(folder)))
        run = run_pipeline(folder, outside.image, outside.call, outside.seed, device)
    else:
        assert outside.weights is not None
        weights = file.parent / outside.weights
        if not weights.is_file():
            raise UsageError(f"{file}: {weights} does not exist")
        _require_digest(file, outside, weights, sha256_of(weights))
        run = _run_weights(weights, may_run)
    return GraphTask(OutsideNetwork(run, outside)), outside.size


def _require_digest(file: Path, outside: Outside, of: Path, digest: str) -> None:
    if (outside.sha256 or "").lower() != digest:
        known = "has no sha256" if outside.sha256 is None else "has another sha256"
        raise UsageError(f"{file} {known}; that of {of.name} is {digest}")


def color_folder(command: str, given: Path, colored: Path) -> dict[str, Path]:
    """Run a command once over a folder of images.

    Args:
        command: With the words {input} and {output}.
        given: Folder of the images, PNGs.
        colored: Empty folder of the results.

    Returns:
        Results by name without suffix, of those images that have one: a PNG, or the only file of
        this name. One of another shape than its image is a square, as networks return it.

    Raises:
        UsageError: If it cannot be started.
        WorkError: If it fails, or a result is ambiguous, cannot be read, or has another shape.
    """
    folders = {"{input}": str(given), "{output}": str(colored)}
    words = [folders.get(word, word) for word in shlex.split(command)]
    code, errors = _run(words)
    if code:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        raise WorkError(f"{words[0]} ended with {code}: {last}")
    written: dict[str, list[Path]] = {}
    for file in files_below(colored):
        written.setdefault(Path(file).stem, []).append(colored / file)
    return {
        name: _result(words[0], given / f"{name}.png", files)
        for name, files in written.items()
        if (given / f"{name}.png").exists()
    }


def _run(words: Sequence[str]) -> tuple[int, str]:
    """Run a program to its end, or to ours; return its exit code and standard error."""
    try:
        # A session of its own: what it starts ends with it.
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"{words[0]} cannot be started: {first_line(error)}") from None
    with process:
        try:
            errors = process.communicate()[1]
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, errors


def _result(program: str, given: Path, written: Sequence[Path]) -> Path:
    """Return the result of a given image, if there is one that can be meant."""
    same = [file for file in written if file.suffix == given.suffix] or written
    if len(same) > 1:
        raise WorkError(f"{program} wrote {same[0].name} and {same[1].name} for {given.name}")
    try:
        shapes = [read_header(read_bytes(file), file) for file in (given, same[0])]
    except ImageError as error:
        raise WorkError(f"{program} wrote an image that cannot be read: {error}") from None
    (height, width), (new_height, new_width) = ((each.height, each.width) for each in shapes)
    if new_height != new_width and not is_same_shape(width / height, new_width / new_height):
        raise WorkError(
            f"{program} wrote {same[0].name} with {new_width} x {new_height} pixels for "
            f"{width} x {height}: neither the same shape nor a square"
        )
    return same[0]


def is_same_shape(aspect: float, other: float) -> bool:
    """Return whether two aspect ratios differ by no more than rounding does."""
    return abs(aspect / other - 1) <= 0.02


def _run_weights(weights: Path, may_run: Callable[[str], None]) -> Run:
    try:
        if weights.suffix == ONNX:
            return run_onnx(weights)[0]
        if weights.suffix == PROGRAM:
            may_run("torch.export")
            return run_program(weights)[0]
        if weights.suffix in _TORCHSCRIPT:
            may_run("torch.jit")
            with warnings.catch_warnings(action="ignore", category=FutureWarning):
                script = torch.jit.load(weights, map_location="cpu").eval()  # type: ignore[no-untyped-call]

            def run(values: Tensor) -> Tensor:
                result: Tensor = script(values)
                return result

            return run
    except UsageError:
        raise
    except Exception as error:  # a damaged file makes the libraries raise nearly any class
        raise UsageError(f"{weights} cannot be read: {first_line(error)}") from None
    raise UsageError(
        f"{weights} is neither ONNX (.onnx), nor torch.export (.pt2), nor TorchScript (.pt)"
    )


def _run_command(command: str) -> Run:
    """Return a function from the grey image, (1, 3, h, w) in 0..1, to the colored one."""

    def run(grey: Tensor) -> Tensor:
        with tempfile.TemporaryDirectory() as folder:
            given, colored = Path(folder, "input"), Path(folder, "output")
            given.mkdir()
            colored.mkdir()
            write_png(given / "image.png", (grey[0] * 255).round().byte())
            results = color_folder(command, given, colored)
            if not results:
                raise WorkError("the command wrote no image of the name that it was given")
            try:
                rgb = read_image(results["image"])
            except ImageError as error:
                raise WorkError(
                    f"the command wrote an image that cannot be read: {error}"
                ) from None
        unit: Tensor = to_unit(rgb[None])
        return unit

    return run


def write_png(file: Path, rgb: Tensor) -> None:
    """Write an image, (3, H, W), uint8."""
    file.write_bytes(encode_png(rgb, compression_level=1).numpy().tobytes())


def _per_channel(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32).view(1, -1, 1, 1)


def _resized(values: Tensor, size: Sequence[int]) -> Tensor:
    if list(values.shape[-2:]) == list(size):
        return values
    resized: Tensor = TF.resize(values, list(size), antialias=True)
    return resized
