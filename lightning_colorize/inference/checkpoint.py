"""A checkpoint as a model that colorizes images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchvision.transforms.v2.functional import to_pil_image

from lightning_colorize.common.class_paths import Trust, find_class_paths, untrusted_classes
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import from_pillow
from lightning_colorize.data.sources import Source
from lightning_colorize.metrics import Baselines
from lightning_colorize.networks import ClassificationHead
from lightning_colorize.runs.folder import checkpoint_of, run_of
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.tasks.checkpoint import (
    DECODING,
    first_not_finite,
    read_checkpoint,
    rebuild_task,
)
from lightning_colorize.tasks.prediction import colorize_image

AnyImage = TypeVar("AnyImage", Tensor, Image.Image)

_LARGEST = 2**14  # pixels
_STRONGEST = 1.5


@dataclass(frozen=True)
class ColorizationModel:
    """A trained model.

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
        if vividness is not None or temperature is not None:
            if not isinstance(head, ClassificationHead):
                raise UsageError(
                    f"{self.path} has no vividness and temperature: it was not trained with "
                    "CrossEntropy"
                )
            try:
                head.set_decoding(
                    float(head.vividness) if vividness is None else vividness,
                    float(head.temperature) if temperature is None else temperature,
                )
            except ValueError as error:
                raise UsageError(str(error)) from None
        if strength is not None:
            if not 0 <= strength <= _STRONGEST:
                raise UsageError(f"strength must be from 0 to {_STRONGEST}, not {strength}")
            self.task.strength = float(strength)
        if flip is not None:
            self.task.flip = bool(flip)

    def colorize(self, image: AnyImage, size: int | None = None) -> AnyImage:
        """Colorize one image; its lightness stays as it is, at full resolution.

        Args:
            image: A PIL image of any mode, converted as its file would be, or RGB as a tensor:
                (3, H, W), uint8. Its own colors are discarded.
            size: Pixels of the short side that the network sees; as trained by default.

        Returns:
            An upright PIL image in RGB, or a tensor on the CPU: (3, H, W), uint8.
        """
        size = size or self.size
        if isinstance(image, Image.Image):
            rgb = colorize_image(self.task, from_pillow(image), size)
            colored: Image.Image = to_pil_image(rgb)
            return colored
        return colorize_image(self.task, image, size)


def require_size(size: int) -> None:
    """Refuse a size at which no network can see an image.

    Raises:
        UsageError: If it is not 1 to 16384 pixels.
    """
    if not 1 <= size <= _LARGEST:
        raise UsageError(f"size must be from 1 to {_LARGEST} pixels, not {size}")


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
) -> ColorizationModel:
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
    checkpoint = read_checkpoint(file)
    data, stored = checkpoint.get("datamodule_hyper_parameters"), checkpoint.get(DECODING, {})
    if not _is_decoding(stored):
        raise UsageError(f"{file} is not a checkpoint of lightning-colorize: its decoding is not")
    size = data.get("size") if isinstance(data, dict) else None
    size = stored.pop("size", size)
    if not isinstance(data, dict) or type(size) is not int or not 1 <= size <= _LARGEST:
        raise UsageError(
            f"{file} is not a checkpoint of lightning-colorize: its image size is {size!r:.40}, "
            f"not 1 to {_LARGEST}; train with ColorizationDataModule"
        )
    task = rebuild_task(file, checkpoint, ColorizationTask, trust_of(file, allow))
    if isinstance(device, str):
        device = choose_device(device)
    model = ColorizationModel(
        task.eval().to(device),
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
