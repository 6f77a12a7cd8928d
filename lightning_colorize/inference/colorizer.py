"""A trained model that colorizes images, and how it is loaded."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
from huggingface_hub.constants import CONFIG_NAME
from PIL import Image
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchvision.transforms.v2.functional import to_pil_image

from lightning_colorize.common.bundled import DEFAULT, with_default
from lightning_colorize.common.class_paths import Trust, find_class_paths, untrusted_classes
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import from_pillow, read_image
from lightning_colorize.data.sources import Source
from lightning_colorize.inference.card import card_text
from lightning_colorize.metrics import Baselines
from lightning_colorize.networks import ClassificationHead, parameter_count
from lightning_colorize.runs.folder import checkpoint_of, run_of
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.tasks.checkpoint import (
    DECODING,
    first_not_finite,
    read_checkpoint,
    rebuild_task,
)
from lightning_colorize.tasks.exported import ONNX, PROGRAM, write_exported
from lightning_colorize.tasks.graph import LARGEST, GraphTask, read_graph
from lightning_colorize.tasks.outside import SUFFIXES, read_outside
from lightning_colorize.tasks.prediction import (
    add_colors,
    decode_views,
    network_input,
    padded_size,
    predict_colors,
    predict_views,
)
from lightning_colorize.tasks.predictor import predictor_arguments, predictor_state
from lightning_colorize.tasks.routed import RoutedPredictor

AnyImage = TypeVar("AnyImage", Tensor, Image.Image, np.ndarray)

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Types of autocast, by the names of Lightning's trainer."""

_WEIGHTS = "model.safetensors"
_STRONGEST = 1.5
_EXECUTES = {
    "torch.export": "torch.export unpickles what it reads",
    "torch.jit": "TorchScript runs a program that can write any file, even while it is loaded",
    "command": "it names a command",
}


@dataclass(eq=False)
class Colorizer(
    ModelHubMixin, library_name="lightning-colorize", tags=["colorization", "image-to-image"]
):
    """A trained model.

    `Colorizer.from_pretrained()` loads the model of the package. `save_pretrained` and
    `push_to_hub` are those of huggingface_hub.

    Attributes:
        task: In evaluation mode, on its device.
        size: Height and width in pixels of the images that it was trained on, or the size that
            was stored by `evaluate --store`.
        baselines: Fitted on the training images; None if the checkpoint contains no baselines.
        data_root: The folder that it was trained on, as it was given; None for another source.
        path: The checkpoint file.
    """

    task: ColorizationTask
    size: int
    baselines: Baselines | None
    data_root: str | None
    path: Path

    @property
    def is_classification(self) -> bool:
        """Return whether the network predicts distributions, whose decoding can be changed."""
        return isinstance(self.task.net.head, ClassificationHead)

    @property
    def decoding(self) -> dict[str, Any]:
        """The present arguments of `set_decoding`."""
        head, task = self.task.net.head, self.task
        values: dict[str, Any] = {}
        if isinstance(head, ClassificationHead):
            values = {"vividness": head.vividness.item(), "temperature": head.temperature.item()}
        # Without the digits that float32 adds.
        values = {name: float(f"{value:.6g}") for name, value in values.items()}
        return values | {"strength": task.strength, "flip": task.flip}

    def set_decoding(
        self,
        vividness: float | None = None,
        temperature: float | None = None,
        strength: float | None = None,
        flip: bool | None = None,
    ) -> None:
        """Change how predictions become colors, without another training; None: no change.

        Args:
            vividness: Of a `ClassificationHead`, from 0 (faithful) to 1 (vivid).
            temperature: Of a `ClassificationHead`, above 0.
            strength: Factor of the predicted ab, from 0 (grey) to 1.5.
            flip: Average the prediction with that of the mirror image: twice the time.

        Raises:
            UsageError: If the network has another head, or a number is out of range.
        """
        head = self.task.net.head
        if strength is not None and not 0 <= strength <= _STRONGEST:
            raise UsageError(f"strength must be from 0 to {_STRONGEST}, not {strength}")
        if vividness is not None or temperature is not None:
            if not isinstance(head, ClassificationHead):
                fixed = isinstance(self.task, GraphTask)
                reason = "their effect was exported" if fixed else "not trained with CrossEntropy"
                raise UsageError(
                    f"{self.path} has no vividness and temperature: {reason}; leave them out"
                    + ("" if fixed else ", or give a strength, which any network has")
                )
            try:
                head.set_decoding(
                    float(head.vividness) if vividness is None else vividness,
                    float(head.temperature) if temperature is None else temperature,
                )
            except ValueError as error:
                raise UsageError(str(error)) from None
        if strength is not None:
            self.task.strength = float(strength)
        if flip is not None:
            self.task.flip = bool(flip)

    def set_precision(self, precision: str) -> None:
        """Change the precision of the network's matrix products and convolutions.

        Args:
            precision: As of Lightning's trainer: `32-true`, `bf16-mixed` or `16-mixed`.

        Raises:
            UsageError: If it is none of them, or the network is an exported graph.
        """
        if precision not in PRECISIONS:
            raise UsageError(f"precision must be {', '.join(PRECISIONS)}, not {precision}")
        autocast = PRECISIONS[precision]
        if autocast is not None and isinstance(self.task, GraphTask):
            raise UsageError(f"{self.path} has the precision with which it was exported")
        self.task.autocast = autocast

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name: Path | str = DEFAULT,
        *,
        device: torch.device | str = "cpu",
        allow: Sequence[str] = (),
        **options: Any,
    ) -> "Colorizer":
        """Load a model.

        Args:
            name: `default`, the model of the package; a checkpoint, an exported model or a run
                folder; a folder that `save_pretrained` wrote; or the name of a model on the Hugging
                Face hub, such as `user/model`, which is downloaded.
            device: Of the network; `auto` is the GPU if there is one.
            allow: As of `load_model`; not for a model of the hub.
            options: Of huggingface_hub, such as `revision` and `token`.

        Raises:
            UsageError: If there is no such model, or it is damaged.
        """
        path = with_default(Path(name))
        if (path / _WEIGHTS).is_file():
            path /= _WEIGHTS
        if path.exists() or str(name).count("/") != 1:
            return load_model(path, allow, device)
        try:
            loaded: Colorizer = super().from_pretrained(str(name), device=device, **options)
        except (OSError, ValueError) as error:  # of the network, of the hub's answer, of the name
            reason = str(error).strip().partition("\n")[0]
            raise UsageError(f"{name} is no file, and not loaded from the hub: {reason}") from error
        return loaded

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **_: Any,
    ) -> "Colorizer":
        file = hf_hub_download(
            model_id,
            _WEIGHTS,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        return load_model(file, device=device)

    def _save_pretrained(self, save_directory: Path) -> None:
        self.export(save_directory / _WEIGHTS)
        # Not the arguments of this class, which name folders.
        config = {"size": self.size, **self.decoding}
        (save_directory / CONFIG_NAME).write_text(json.dumps(config, indent=2))

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the README of a model on the hub."""
        data = self._hub_mixin_info.model_card_data
        return ModelCard(f"---\n{data}\n---\n\n{self.model_card(_WEIGHTS)}")

    def model_card(self, name: str, rows: Mapping[str, str] | None = None) -> str:
        """Return Markdown about an exported file, with the network, its decoding and its metrics.

        Args:
            name: Of the file.
            rows: Further rows of the table.
        """
        net, routed = self.task.net, isinstance(self.task, RoutedPredictor)
        parts = ", ".join(type(part).__name__ for part in (net.encoder, net.decoder, net.head))
        parameters = sum(parameter_count(self.task if routed else net))
        table = {
            "network": f"{parts}: {parameters:,} parameters",
            "decoding": ", ".join(f"{key} {value:g}" for key, value in self.decoding.items()),
            "size": f"the network sees a short side of {self.size} pixels",
        }
        # The run of the common network has measured that one alone.
        return card_text(name, self.path, table | dict(rows or {}), measured=not routed)

    def export(self, file: Path) -> None:
        """Write the network, its baselines and its decoding to a file, in half precision.

        `load_model` reads it. It holds neither the optimizer nor the loss, and cannot be resumed.

        Args:
            file: The file to write or replace, with the suffix `.safetensors`.

        Raises:
            UsageError: If a weight is too large for half precision, the size too large for any
                network, or the model none of ours.
        """
        require_exportable(self.path)
        require_size(self.size)
        write_exported(
            file,
            predictor_arguments(self.task),
            predictor_state(self.task),
            {} if self.baselines is None else self.baselines.state_dict(),
            self.decoding | {"size": self.size},
        )

    def predict(self, L: Tensor) -> Tensor:
        """Return ab of grey images, as a step of another pipeline.

        Args:
            L: (B, 1, H, W) in [0, 100], on any device; about `size` pixels high and wide.

        Returns:
            ab: (B, 2, H, W) in LAB units, fp32, on the model's device.
        """
        with torch.inference_mode():
            ab: Tensor = self.task(L.to(self.task.device))
        return ab

    @overload
    def colorize(self, image: Path | str, size: int | None = None) -> Image.Image: ...

    @overload
    def colorize(self, image: AnyImage, size: int | None = None) -> AnyImage: ...

    def colorize(self, image: Any, size: int | None = None) -> Any:
        """Colorize one image; its lightness stays as it is, at full resolution.

        Args:
            image: A file; a PIL image of any mode, converted as its file would be; an array,
                (H, W) or (H, W, 3), uint8 or uint16; or a tensor, (3, H, W) or (1, H, W), uint8 or
                uint16. Its own colors are discarded.
            size: Pixels of the short side that the network sees; as trained by default.

        Returns:
            An upright PIL image in RGB for a file or a PIL image, else RGB of the same type and
            dtype: (H, W, 3), or a tensor on the CPU, (3, H, W).

        Raises:
            ImageError: If a file cannot be read as an image.
            TypeError: If it is of another type, shape or dtype.
            UsageError: If the size is not 1 to 16384 pixels.
        """
        return next(self.colorize_all([image], size))

    def prepare(self, image: Path | str | Image.Image | np.ndarray | Tensor) -> "Prediction":
        """Let the network see an image, whose decoding can then be changed at once.

        Args:
            image: As of `colorize`.
        """
        rgb = _to_tensor(image)
        seen = [network_input(rgb, self.size)]
        return Prediction(self, rgb, seen, predict_views(self.task, seen))

    def __call__(self, image: AnyImage) -> AnyImage:
        """Colorize an image, as a transform among those of torchvision."""
        return self.colorize(image)

    def colorize_all(
        self, images: Iterable[Any], size: int | None = None, batch_size: int = 8
    ) -> Iterator[Any]:
        """Yield colorized images in the order of `images`, as `colorize` returns them.

        Args:
            images: As of `colorize`; they may be of different types.
            size: As of `colorize`.
            batch_size: Images that are held at once. The network sees those together that have
                about the same proportions.

        Raises:
            UsageError: If the size or the number of images is out of range, at the first image.
        """
        size = self.size if size is None else size
        require_size(size)
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        left = iter(images)
        while given := list(islice(left, batch_size)):
            read = [_to_tensor(image) for image in given]
            seen = [network_input(rgb, size) for rgb in read]
            shapes = [padded_size(self.task, image) for image in seen]
            colors: dict[int, Tensor] = {}
            for shape in set(shapes):
                own = [index for index, other in enumerate(shapes) if other == shape]
                predicted = predict_colors(self.task, [seen[index] for index in own])
                colors |= zip(own, predicted, strict=True)
            for index, (image, rgb) in enumerate(zip(given, read, strict=True)):
                yield _like(image, add_colors(rgb, colors[index]))


@dataclass(eq=False)
class Prediction:
    """What a network predicts for one image, before its decoding.

    Attributes:
        model: The model.
        rgb: The image, (3, H, W), uint8 or uint16; or, for a preview, one of another size.
    """

    model: Colorizer
    rgb: Tensor
    _seen: list[Tensor]
    _views: list[Tensor]

    def colorize(
        self,
        vividness: float | None = None,
        temperature: float | None = None,
        strength: float | None = None,
    ) -> Tensor:
        """Return the colored image, (3, H, W), with the dtype of `rgb`.

        Args:
            vividness: As of `Colorizer.set_decoding`, for this result only.
            temperature: As the vividness.
            strength: As the vividness.

        Raises:
            UsageError: As of `Colorizer.set_decoding`.
        """
        own = self.model.decoding
        try:
            self.model.set_decoding(vividness, temperature, strength)
            (ab,) = decode_views(self.model.task, self._views, self._seen)
        finally:
            self.model.set_decoding(**own)
        return add_colors(self.rgb, ab)


def _to_tensor(image: Any) -> Tensor:
    """Return (3, H, W), uint8 or uint16, of an image as `Colorizer.colorize` takes it."""
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return from_pillow(image)
    if isinstance(image, np.ndarray):
        planes = image[..., None] if image.ndim == 2 else image
        # A copy where torch would warn: PIL's arrays cannot be written.
        values = np.require(planes, requirements=["C", "W"])
        pixels = torch.from_numpy(values).movedim(-1, 0)
    elif isinstance(image, Tensor):
        pixels = image
    else:
        raise TypeError(f"an image is a file, a PIL image, an array or a tensor, not {type(image)}")
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or not pixels.numel():
        raise TypeError(
            f"an array is (H, W) or (H, W, 3), a tensor (3, H, W) or (1, H, W), with pixels, "
            f"not {tuple(image.shape)}"
        )
    if pixels.dtype not in (torch.uint8, torch.uint16):
        raise TypeError(f"an image is uint8 or uint16, not {pixels.dtype}")
    return pixels.expand(3, -1, -1)


def _like(image: Any, rgb: Tensor) -> Any:
    """Return a colored image, (3, H, W), in the type of the one that was given."""
    if isinstance(image, Tensor):
        return rgb
    if isinstance(image, np.ndarray):
        return np.ascontiguousarray(rgb.permute(1, 2, 0).numpy())
    return to_pil_image(rgb)


def require_size(size: int) -> None:
    """Refuse a size at which no network can see an image.

    Raises:
        UsageError: If it is not 1 to 16384 pixels.
    """
    if not 1 <= size <= LARGEST:
        raise UsageError(f"size must be from 1 to {LARGEST} pixels, not {size}")


def require_exportable(path: Path) -> None:
    """Refuse a file that holds no network of ours.

    Raises:
        UsageError: If it describes a program of others, or is an exported graph.
    """
    if path.suffix in SUFFIXES:
        raise UsageError(
            f"{path} describes a program of others, which cannot be exported: only the networks of "
            "lightning-colorize can"
        )
    if path.suffix in (ONNX, PROGRAM):
        raise UsageError(f"{path} is an exported graph; export its checkpoint again")


def choose_device(name: str) -> torch.device:
    """Return the device for `auto` (the GPU if there is one), `cpu` or `cuda`.

    Raises:
        UsageError: If the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device; use --device cpu")
    return torch.device(name)


def load_model(
    path: Path | str, allow: Sequence[str] = (), device: torch.device | str = "cpu"
) -> Colorizer:
    """Load a checkpoint; nothing in it is executed but trusted classes.

    These are the classes of this package and of torch, those that `allow` names, and, for a
    checkpoint in a run folder, the networks, losses, optimizers and sources that the `config.yaml`
    of the run lists.

    Args:
        path: The file, or a run folder: then its best checkpoint.
        allow: Classes, modules or packages that the checkpoint may import as well.
        device: Of the task; `auto` is the GPU if there is one.

    Raises:
        UsageError: If there is no such file, it is not a checkpoint of ours, is damaged, names a
            class that is not trusted, or does not fit the classes.
    """
    file = checkpoint_of(Path(path))
    if isinstance(device, str):
        device = choose_device(device)
    if file.suffix in (ONNX, PROGRAM):
        return _load_graph(file, allow, device)
    if file.suffix in SUFFIXES:
        program, seen = read_outside(file, lambda name: _require_allowed(file, name, allow), device)
        return Colorizer(program.eval().to(device), seen, None, None, file)
    checkpoint = read_checkpoint(file)
    data, stored = checkpoint.get("datamodule_hyper_parameters"), checkpoint.get(DECODING, {})
    if not _is_decoding(stored):
        raise UsageError(f"{file} is not a checkpoint of lightning-colorize: its decoding is not")
    size = data.get("size") if isinstance(data, dict) else None
    size = stored.pop("size", size)
    if not isinstance(data, dict) or type(size) is not int or not 1 <= size <= LARGEST:
        raise UsageError(
            f"{file} is not a checkpoint of lightning-colorize: its image size is {size!r:.40}, "
            f"not 1 to {LARGEST}; train with ColorizationDataModule"
        )
    task = rebuild_task(file, checkpoint, ColorizationTask, trust_of(file, allow))
    # Channels last: convolutions take an eighth less time on a CPU.
    model = Colorizer(
        task.eval().to(device).to(memory_format=torch.channels_last),
        size,
        _baselines(file, checkpoint, device),
        root if isinstance(root := data.get("root"), str) else None,
        file,
    )
    try:
        model.set_decoding(**stored)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    return model


def _require_allowed(file: Path, module: str, allow: Sequence[str]) -> None:
    if module not in allow:
        raise UsageError(
            f"{file} can do harm, as {_EXECUTES[module]}; if you trust its origin, add "
            f"--allow-class {module}"
        )


def _load_graph(file: Path, allow: Sequence[str], device: torch.device) -> Colorizer:
    """Load an exported graph; its decoding is part of it."""
    if file.suffix == PROGRAM:
        _require_allowed(file, "torch.export", allow)
    task, content = read_graph(file)
    return Colorizer(task.eval().to(device), content["size"], None, None, file)


def _is_decoding(stored: Any) -> bool:
    """Return whether a checkpoint's decoding has the names and types of one."""
    kinds = {"vividness": float, "temperature": float, "strength": float, "flip": bool, "size": int}
    return isinstance(stored, dict) and all(type(v) is kinds.get(k) for k, v in stored.items())


def trust_of(file: Path, allow: Sequence[str]) -> Trust:
    """Return the classes that a checkpoint, or a run's configuration, may import."""
    run = run_of(file.resolve())
    config = {} if run is None else RunRecord(run).config
    listed = set(find_class_paths([config.get("model"), config.get("data")]))
    return Trust(allow, listed, bases=(nn.Module, Source, Optimizer, LRScheduler))


def classes_to_allow(run: Path) -> list[str]:
    """Return the classes of a run's model that need `--allow-class` even in its folder.

    These are own classes that are no network, loss, optimizer or schedule, such as an argument of
    an encoder.
    """
    try:
        return untrusted_classes(RunRecord(run).config.get("model"), trust_of(run, ()))
    except (ImportError, UsageError):
        return []  # of a function, which no option allows


def _baselines(file: Path, checkpoint: dict[str, Any], device: torch.device) -> Baselines | None:
    """Return the state of the callback `BaselineMetrics`, which is not imported here."""
    baselines = Baselines()
    try:
        for key, state in checkpoint.get("callbacks", {}).items():
            if key.partition("{")[0].endswith("BaselineMetrics"):
                baselines.load_state_dict(state["baselines"])
    except Exception as error:  # other types than those of a checkpoint
        raise UsageError(
            f"{file} is not a checkpoint of lightning-colorize: its baselines are not"
        ) from error
    if (name := first_not_finite(baselines.state_dict())) is not None:
        raise UsageError(f"{file} has baselines that are not finite ({name})")
    return baselines.to(device) if baselines.pixels else None
