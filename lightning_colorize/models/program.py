"""Third-party programs, described by a YAML file, as models."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from torch import Tensor
from torchvision.io import encode_png
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import Condition, to_grey, to_lab, to_lightness, to_unit
from lightning_colorize.common.described import read_described
from lightning_colorize.common.digest import sha256_of, sha256_of_files
from lightning_colorize.common.errors import UsageError, WorkError, first_line
from lightning_colorize.common.files import files_below
from lightning_colorize.data.decoding.files import ImageError, read_bytes, read_header, read_image
from lightning_colorize.models.base import Model, View
from lightning_colorize.models.diffusion import INDEX, run_pipeline
from lightning_colorize.models.exported import ONNX, PROGRAM
from lightning_colorize.models.folder import is_same_shape, prepare_like
from lightning_colorize.models.graph import Run, run_onnx, run_program
from lightning_colorize.models.settings import LARGEST
from lightning_colorize.models.whole import without_color
from lightning_colorize.networks.colorizer import pad_input, round_up

SUFFIXES = (".yaml", ".yml")

INPUT = "input"
"""Folder of the images that a command colorizes."""

_TORCHSCRIPT = (".pt", ".ts", ".torchscript")
_CHANNELS = {"L": 1, "grey": 3, "ab": 2, "rgb": 3}


class Values(BaseModel):
    """The format of a program's input or output, and its range: natural = value * std + mean.

    Attributes:
        form: `L` in 0..100, `grey` as RGB in 0..1, `ab` in LAB units, or `rgb` in 0..1.
        mean: One number, or one for each channel.
        std: One number, or one for each channel.
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
        """Convert natural values to the program's input; (B, C, H, W)."""
        return (natural - _per_channel(self.mean)) / _per_channel(self.std)

    def restore(self, values: Tensor) -> Tensor:
        """Convert the program's output to natural values; (B, C, H, W)."""
        return values * _per_channel(self.std) + _per_channel(self.mean)


class Program(BaseModel):
    """The description of a program in its YAML file.

    Attributes:
        weights: ONNX (.onnx), torch.export (.pt2) or TorchScript (.pt), relative to the file; None
            for a command.
        sha256: SHA-256 of the weights, or of the pipeline's files by `sha256_of_files`.
        command: Command that colorizes a folder of PNGs: `python their.py {input} {output}`; None
            for weights.
        timeout: Time limit of the command, in seconds per image.
        pipeline: Folder of a diffusers image-to-image pipeline, relative to the file.
        image: Name of the pipeline's argument for the grey image.
        call: The other arguments of the pipeline's call.
        seed: Seed of the per-image generator.
        input: Format of the network's input.
        output: Format of the network's output.
        size: Short side of the program's input in pixels.
        square: Stretch images to squares of this size.
        multiple: Height and width are multiples of this, unless images are squares.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path | None = None
    sha256: str | None = None
    command: str | None = None
    timeout: Annotated[float, Field(gt=0, le=10**6)] = 600.0
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
        others |= {"timeout"} if self.command is None else set()
        if given := sorted(others & self.model_fields_set):
            raise ValueError(f"{given[0]} is not a valid key for this kind of program")
        if own := sorted({self.image, "generator"} & self.call.keys()):
            raise ValueError(f"call must not contain {own[0]}, which is set for each image")
        if self.input.form not in ("L", "grey") or self.output.form not in ("ab", "rgb"):
            raise ValueError("the input must be L or grey, the output ab or rgb")
        if self.command is not None and not {"{input}", "{output}"} <= set(
            shlex.split(self.command)
        ):
            raise ValueError("command must contain the words {input} and {output}")
        if self.command is not None and self.sha256 is not None:
            raise ValueError("sha256 belongs to weights or a pipeline, not to a command")
        return self


class ProgramModel(Model):
    """A third-party program that colorizes images one by one on the CPU.

    `run` maps the program's input, (1, C, h, w), to its output.
    """

    kind = "program"
    batches = False

    def __init__(self, run: Run, described: Program) -> None:
        self.run = run
        self.described = described
        self.size = described.size
        self.multiple = 1 if described.square else described.multiple
        self.keeps_lightness = described.output.form == "ab"

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the weights, verified when they were loaded; None for a command."""
        return self.described.sha256

    def predict(self, L: Tensor, condition: Condition) -> Tensor:
        """Return ab in LAB units, (B, 2, H, W)."""
        ab = torch.cat([self._ab(self._colored(each[None].cpu())) for each in L])
        return _resized(ab, L.shape[-2:]).to(L.device)

    @torch.inference_mode()
    def paint(self, name: str, truth: Tensor, view: View) -> Tensor:
        """Return the image with the program's own lightness, enlarged from its output."""
        L = to_lightness(truth[None])
        scale = self.size / min(truth.shape[-2:])
        height, width = (max(1, round(edge * scale)) for edge in truth.shape[-2:])
        seen = pad_input(
            _resized(L, [height, width]),
            round_up(height, self.multiple),
            round_up(width, self.multiple),
        )
        # The result may be smaller than the input.
        colored = _resized(self._colored(seen), seen.shape[-2:])[..., :height, :width]
        if not colored.isfinite().all():
            raise FloatingPointError("the program returns colors that are not finite")
        return (_resized(colored, truth.shape[-2:])[0].clamp(0, 1) * 255).round().byte()

    def _colored(self, L: Tensor) -> Tensor:
        """Return the program's output in natural values; (1, 2 or 3, h, w)."""
        described = self.described
        if described.square:
            L = _resized(L, [self.size, self.size])
        natural = to_grey(L) if described.input.form == "grey" else L
        try:
            returned = self.run(described.input.normalize(natural).contiguous()).float()
        except (UsageError, WorkError):
            raise
        except Exception as error:  # a program may raise any class
            raise WorkError(f"the program failed: {first_line(error)}") from None
        channels = _CHANNELS[described.output.form]
        if returned.ndim != 4 or returned.shape[1] != channels:
            raise WorkError(
                f"the program returned values of shape {tuple(returned.shape)}, "
                f"not (1, {channels}, height, width) as its output {described.output.form} has"
            )
        return described.output.restore(returned)

    def _ab(self, colored: Tensor) -> Tensor:
        return colored if self.keeps_lightness else to_lab(colored.clamp(0, 1))[1]


class CommandModel(ProgramModel):
    """A third-party command that can colorize a whole folder of images in one call."""

    kind = "command"
    sees_whole = True

    def __init__(self, described: Program) -> None:
        assert described.command is not None
        super().__init__(_run_command(described.command, described.timeout), described)
        self.command = described.command
        self._results: dict[str, tuple[Path, Path]] = {}

    def paint(self, name: str, truth: Tensor, view: View) -> Tensor:
        """Return the result of `paint_all`, prepared like the truth."""
        given, painted = self._results[name]
        rgb = read_image(painted, view.side)
        # Its shape was checked against the input.
        return prepare_like(painted, rgb, given, truth, replace(view, crops=False))

    def paint_all(self, images: Iterable[tuple[str, Tensor]]) -> None:
        """Write the images in grey and run the command once for all.

        Raises:
            WorkError: If the command fails, or a result is missing or has another shape.
        """
        folder = tempfile.TemporaryDirectory()
        weakref.finalize(self, folder.cleanup)
        given = Path(folder.name, INPUT)
        names: list[str] = []
        for name, rgb in images:
            # A number, because a name may be too long, or the command may change it.
            write_png(given / f"{len(names)}.png", without_color(rgb))
            names.append(name)
        print(f"{self}: its command colorizes {len(names):,} images", file=sys.stderr, flush=True)
        limit = self.described.timeout * len(names)
        results = color_folder(self.command, Path(folder.name), limit)
        self._results = {
            names[int(number)]: (given / f"{number}.png", file) for number, file in results.items()
        }
        if missing := [name for name in names if name not in self._results]:
            raise WorkError(
                f"{self} wrote no image for {missing[0]}; {len(missing):,} of "
                f"{len(names):,} are missing"
            )


def read_program(file: Path, may_run: Callable[[str], None], device: torch.device) -> ProgramModel:
    """Return the model of a third-party program, described in a YAML file.

    `may_run` is called with what the user must allow, `command`, `torch.export` or `torch.jit`, and
    raises `UsageError` if it is not allowed. `device` is for a pipeline; other programs choose
    their own.
    """
    described = read_described(file, Program)
    if described.command is not None:
        may_run("command")
        # Check now, before the images are read.
        if shutil.which(program := shlex.split(described.command)[0]) is None:
            raise UsageError(f"{file}: {program} is not an executable program")
        model: ProgramModel = CommandModel(described)
    elif described.pipeline is not None:
        folder = file.parent / described.pipeline
        if not (folder / INDEX).is_file():  # before all files below are read
            raise UsageError(f"{file}: {folder} has no {INDEX}")
        _require_digest(file, described, folder, sha256_of_files(folder, files_below(folder)))
        run = run_pipeline(folder, described.image, described.call, described.seed, device)
        model = ProgramModel(run, described)
    else:
        assert described.weights is not None
        weights = file.parent / described.weights
        if not weights.is_file():
            raise UsageError(f"{file}: {weights} does not exist")
        _require_digest(file, described, weights, sha256_of(weights))
        model = ProgramModel(_run_weights(weights, may_run), described)
    model.path = file
    return model


def _require_digest(file: Path, described: Program, of: Path, digest: str) -> None:
    if (described.sha256 or "").lower() != digest:
        known = "no sha256" if described.sha256 is None else "sha256 mismatch"
        raise UsageError(f"{file}: {known}: {of.name} has {digest}")


def color_folder(command: str, folder: Path, limit: float | None = None) -> dict[str, Path]:
    """Run a command once over the PNGs in the subfolder `INPUT` of a folder.

    The command contains the words {input} and {output}; the folder receives another one for the
    results. The time limit is in seconds.

    Returns:
        Existing results by name without suffix: a PNG, or the only file with this name. A result
        has the shape of its image or is a square, as networks return it.

    Raises:
        WorkError: If the command fails or exceeds the limit, or a result is ambiguous, unreadable,
            or has another shape.
    """
    given, colored = folder / INPUT, folder / "output"
    colored.mkdir()
    folders = {"{input}": str(given), "{output}": str(colored)}
    words = [folders.get(word, word) for word in shlex.split(command)]
    code, errors = _run(words, limit)
    if code:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        raise WorkError(f"{words[0]} exited with {code}: {last}")
    written: dict[str, list[Path]] = {}
    for file in files_below(colored):
        written.setdefault(Path(file).stem, []).append(colored / file)
    return {
        name: _result(words[0], given / f"{name}.png", files)
        for name, files in written.items()
        if (given / f"{name}.png").exists()
    }


def _run(words: Sequence[str], limit: float | None) -> tuple[int, str]:
    """Run a program until it, the time or this process ends; return exit code and stderr."""
    try:
        # In a new session, so that its child processes end with it.
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
            errors = process.communicate(timeout=limit)[1]
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            text = f"{words[0]} was ended after {limit:g} seconds; increase its timeout"
            raise WorkError(text) from None
    return process.returncode, errors


def _result(program: str, given: Path, written: Sequence[Path]) -> Path:
    """Return the result of an image, if it is unambiguous."""
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
                script: Run = torch.jit.load(weights, map_location="cpu").eval()  # type: ignore[no-untyped-call]
            return script
    except UsageError:
        raise
    except Exception as error:  # for damaged files, the libraries raise nearly any class
        raise UsageError(f"{weights} cannot be read: {first_line(error)}") from None
    raise UsageError(
        f"{weights} is neither ONNX (.onnx), nor torch.export (.pt2), nor TorchScript (.pt)"
    )


def _run_command(command: str, limit: float) -> Run:
    """Return a function that colorizes a grey image, (1, 3, h, w) in 0..1."""

    def run(grey: Tensor) -> Tensor:
        with tempfile.TemporaryDirectory() as folder:
            write_png(Path(folder, INPUT, "image.png"), (grey[0] * 255).round().byte())
            results = color_folder(command, Path(folder), limit)
            if not results:
                raise WorkError("the command wrote no image with the name of its input")
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
    """Write an image, (3, H, W), uint8, into a folder that is created if missing."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(encode_png(rgb, compression_level=1).numpy().tobytes())


def _per_channel(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32).view(1, -1, 1, 1)


def _resized(values: Tensor, size: Sequence[int]) -> Tensor:
    if list(values.shape[-2:]) == list(size):
        return values
    resized: Tensor = TF.resize(values, list(size), antialias=True)
    return resized
