"""The Python API: a model that colorizes images of any type."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
from huggingface_hub.constants import CONFIG_NAME
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from lightning_colorize.color import to_eight_bits
from lightning_colorize.common.bundled import DEFAULT, with_bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import from_pillow, read_image
from lightning_colorize.inference.card import card_text
from lightning_colorize.inference.reference import read_references, to_reference, with_references
from lightning_colorize.metrics import Baselines
from lightning_colorize.models import load
from lightning_colorize.models.base import Model
from lightning_colorize.models.control import Control, Reference, palette_of, parse_palette
from lightning_colorize.models.exported import SUFFIX, exportable, write_exported
from lightning_colorize.models.image import (
    BatchPrediction,
    add_colors,
    network_input,
    padded_size,
    predict,
)
from lightning_colorize.models.load import require_size

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Autocast dtypes by the precision names of Lightning's Trainer."""

_WEIGHTS = "model.safetensors"


@dataclass(eq=False)
class Colorizer(
    ModelHubMixin, library_name="lightning-colorize", tags=["colorization", "image-to-image"]
):
    """A model that colorizes images.

    `Colorizer.from_pretrained()` loads the bundled model. `save_pretrained` and `push_to_hub` come
    from huggingface_hub.

    Attributes:
        model: The model, on its device.
    """

    model: Model

    @property
    def size(self) -> int:
        """Short side of the network's input in pixels: the training size, or a stored one."""
        return self.model.size

    @property
    def path(self) -> Path | None:
        """The file that the model was loaded from."""
        return self.model.path

    @property
    def baselines(self) -> Baselines | None:
        """The baselines, fitted on the training images; None if the file contains none."""
        return self.model.baselines

    @property
    def data_root(self) -> str | None:
        """The folder of the training images, as given; None if unknown."""
        return self.model.data_root

    @property
    def decoding(self) -> dict[str, Any]:
        """The current settings."""
        return self.model.settings.values()

    def set_decoding(self, /, **settings: Any) -> None:
        """Change settings such as `strength` without retraining; None leaves a setting unchanged.

        `decoding` lists the names; `lightning_colorize.models.settings` describes them.

        Raises:
            UsageError: If the model has no such setting, or a value is out of range.
        """
        self.model.settings = self.model.settings.updated(settings)

    def set_precision(self, precision: str) -> None:
        """Change the precision of matrix products and convolutions, named as in Lightning.

        Raises:
            UsageError: If it is not `32-true`, `bf16-mixed` or `16-mixed`, or if it is fixed.
        """
        if precision not in PRECISIONS:
            raise UsageError(f"precision must be {', '.join(PRECISIONS)}, not {precision}")
        self.model.set_precision(PRECISIONS[precision])

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
            name: `default` or `default-samples`, the bundled models; a checkpoint, an exported
                model or a run folder; a folder written by `save_pretrained`; or the name of a model
                on the Hugging Face Hub, such as `user/model`, which is downloaded.
            device: Device of the model; `auto` is the GPU if there is one.
            allow: Same as in `load_model`; not for a model from the Hub.
            options: Options of `hf_hub_download`, such as `revision` and `token`.

        Raises:
            UsageError: If the model does not exist, or is damaged.
        """
        path = with_bundled(Path(name))
        if (path / _WEIGHTS).is_file():
            path /= _WEIGHTS
        if path.exists() or str(name).count("/") != 1:
            return load_model(path, allow, device)
        try:
            file = hf_hub_download(str(name), _WEIGHTS, **options)
        except (OSError, ValueError) as error:  # from the network, the Hub's response, or the name
            reason = str(error).strip().partition("\n")[0]
            raise UsageError(f"{name} is not a file, and is not on the Hub: {reason}") from error
        return load_model(file, device=device)

    def _save_pretrained(self, save_directory: Path) -> None:
        self.export(save_directory / _WEIGHTS)
        # Not the arguments of this class, which contain local paths.
        config = {"size": self.size, **self.decoding}
        (save_directory / CONFIG_NAME).write_text(json.dumps(config, indent=2))

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the README of a model on the Hub."""
        data = self._hub_mixin_info.model_card_data
        return ModelCard(f"---\n{data}\n---\n\n{self.model_card(_WEIGHTS)}")

    def model_card(self, name: str, rows: Mapping[str, str] | None = None) -> str:
        """Return a Markdown card of an exported file: network, settings, metrics, more `rows`."""
        return card_text(name, self.model, rows or {})

    def export(self, file: Path | str) -> None:
        """Write the network, its baselines and its settings to a file, in half precision.

        `load_model` reads it. The file contains neither the optimizer nor the loss, so training
        cannot be resumed from it.

        Args:
            file: The file to write or replace, with the suffix `.safetensors`.

        Raises:
            UsageError: If the suffix is another one, a weight is too large for half precision, the
                size is too large for any network, or the model is not a lightning-colorize network.
        """
        if Path(file).suffix != SUFFIX:
            raise UsageError(f"{file}: give a name that ends with {SUFFIX}")
        require_size(self.size)
        write_exported(Path(file), exportable(self.model))

    def predict(self, L: Tensor) -> Tensor:
        """Return ab for grey images, as a step of another pipeline.

        Args:
            L: (B, 1, H, W) in [0, 100], on any device; about `size` pixels high and wide.

        Returns:
            ab: (B, 2, H, W) in LAB units, fp32, on the model's device.
        """
        with torch.inference_mode():
            return self.model.color(L.to(self.model.device))[0]

    def colorize(
        self,
        image: Any,
        size: int | None = None,
        samples: int | None = None,
        hints: Any = None,
        **asked: Any,
    ) -> Any:
        """Colorize one image; its lightness is unchanged, at full resolution.

        Args:
            image: A file; a PIL image of any mode, converted as its file would be; an array,
                (H, W) or (H, W, 3), uint8 or uint16; or a tensor, (3, H, W) or (1, H, W), uint8 or
                uint16. The image's own colors are discarded.
            size: Short side of the network's input in pixels; by default the model's.
            samples: Number of colorings, which are returned in a list; None for one alone.
            hints: Painted colors on a transparent image, at any size: a file, a PIL image, an
                array, (H, W, 4), or a tensor, (4, H, W), in uint8.
            asked: `seed`, `reference`, `palette`, `label` and `prompt`, as in `colorize_all`.

        Returns:
            An upright PIL image in RGB for a file or a PIL image, else RGB of the same type and
            dtype: (H, W, 3), or a tensor on the CPU, (3, H, W).

        Raises:
            ImageError: If a file cannot be read as an image.
            TypeError: If the image or the hints have another type, shape or dtype.
            UsageError: If the size is not 1 to 16384 pixels, or the model does not accept what is
                asked.
        """
        return next(self.colorize_all([image], size, samples=samples, hints=[hints], **asked))

    def prepare(self, image: Any, hints: Any = None, **asked: Any) -> "Prediction":
        """Run the network once, so that settings can change without another forward pass.

        Only with hints or a palette, another `strength` needs one, so that their colors are kept.
        The image and what is asked of it are as in `colorize`.
        """
        rgb = _to_tensor(image)
        seen = network_input(rgb, self.size)
        controls = [with_references(self._control(rgb, hints, _common(**asked)), seen)]
        return Prediction(rgb, predict(self.model, [seen], controls=controls), image)

    def _control(self, rgb: Tensor, hints: Any, common: Control) -> Control:
        """Return the `Control` of one image. Raises UsageError if the model does not support it."""
        control = replace(common, hints=_to_hints(hints))
        control.require_accepted(self.model)
        return control.read(*rgb.shape[-2:])

    def __call__(self, image: Any) -> Any:
        """Colorize an image, like a torchvision transform."""
        return self.colorize(image)

    def colorize_all(
        self,
        images: Iterable[Any],
        size: int | None = None,
        batch_size: int = 8,
        samples: int | None = None,
        seed: int = 0,
        hints: Iterable[Any] = (),
        **asked: Any,
    ) -> Iterator[Any]:
        """Yield colorized images in the order of `images`, as `colorize` returns them.

        Args:
            images: Same as in `colorize`; they may have different types.
            size: Same as in `colorize`.
            batch_size: Number of images in memory. Images with about the same aspect ratio share a
                batch.
            samples: Same as in `colorize`.
            seed: Seed of the samples; in another batch, colors differ by rounding only.
            hints: One for each image, as in `colorize`, or None.
            asked: `palette`: text such as `red,#304080`, or `navy:0.7,orange:0.3` with shares, a
                list of color names, or an image; `label`: a class name of the model; `prompt`;
                `reference`: an image whose colors are taken where it corresponds, or a folder.

        Raises:
            UsageError: If a number is out of range, or the model does not accept what is asked, at
                the first image.
        """
        size = self.size if size is None else size
        require_size(size)
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        count = _count(samples)
        common, left, painted = _common(**asked), iter(images), chain(hints, repeat(None))
        while given := list(islice(left, batch_size)):
            read = [_to_tensor(image) for image in given]
            controls = [self._control(rgb, next(painted), common) for rgb in read]
            seen = [network_input(rgb, size) for rgb in read]
            controls = list(map(with_references, controls, seen))
            shapes = [padded_size(self.model, image) for image in seen]
            colors: dict[int, Tensor] = {}
            for shape in set(shapes):
                own = [index for index, other in enumerate(shapes) if other == shape]
                chosen = [controls[index] for index in own]
                predicted = predict(self.model, [seen[index] for index in own], controls=chosen)
                generators = self.model.generators(predicted.inputs, seed)
                colors |= zip(own, predicted.colors(n=count, generators=generators), strict=True)
            for index, (image, rgb) in enumerate(zip(given, read, strict=True)):
                colored = [_like(image, add_colors(rgb, ab[None])) for ab in colors[index]]
                yield colored[0] if samples is None else colored


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image, to be decoded with several settings.

    Attributes:
        rgb: The image, (3, H, W), uint8 or uint16; for a preview, it may have another size.
        whole: Prediction for the image.
        given: The image as it was given; the results have its type.
    """

    rgb: Tensor
    whole: BatchPrediction
    given: Any

    def colorize(self, /, samples: int | None = None, seed: int = 0, **settings: Any) -> Any:
        """Return the colorized image, of the type that `Colorizer.colorize` returns.

        Args:
            samples: Number of colorings, which are returned in a list; None for one alone.
            seed: Seed of the samples.
            settings: Same as in `Colorizer.set_decoding`, but only for this result; `flip` has no
                effect.

        Raises:
            UsageError: If the model has no such setting, or a value or `samples` is out of range.
        """
        model = self.whole.model
        count, generators = _count(samples), model.generators(self.whole.inputs, seed)
        (ab,) = self.whole.colors(model.settings.updated(settings), count, generators)
        colored = [_like(self.given, add_colors(self.rgb, sample[None])) for sample in ab]
        return colored[0] if samples is None else colored


def _count(samples: int | None) -> int:
    if samples is not None and samples < 1:
        raise UsageError(f"samples must be at least 1, not {samples}")
    return samples or 1


def _to_hints(hints: Any) -> Path | Tensor | None:
    """Convert hints that `Colorizer.colorize` accepts to a file, or (4, H, W), uint8."""
    if hints is None or isinstance(hints, str | Path):
        return None if hints is None else Path(hints)
    if isinstance(hints, Image.Image) and hints.has_transparency_data:
        hints = np.asarray(hints.convert("RGBA"))
    if isinstance(hints, np.ndarray):
        hints = torch.from_numpy(np.array(hints)).movedim(-1, 0)
    if not isinstance(hints, Tensor) or hints.dtype != torch.uint8 or hints.shape[:-2] != (4,):
        raise TypeError(
            "hints are a file, a PIL image with transparency, an array (H, W, 4) or a tensor "
            "(4, H, W), in uint8"
        )
    return hints


def _common(
    palette: Any = None, label: str = "", prompt: str = "", reference: Any = None
) -> Control:
    """Return what is asked of all images, as in `Colorizer.colorize_all`."""
    if isinstance(palette, list | tuple):
        palette = ",".join(palette)
    if isinstance(palette, str):
        palette = parse_palette(palette)
    elif palette is not None:
        palette = palette_of(_to_tensor(palette))
    references: Sequence[Reference] = ()
    if isinstance(reference, str | Path):
        references = read_references(Path(reference))
    elif reference is not None:
        references = [to_reference(to_eight_bits(_to_tensor(reference)))]
    return Control(None, palette, label, prompt, references)


def _to_tensor(image: Any) -> Tensor:
    """Convert an image that `Colorizer.colorize` accepts to (3, H, W), uint8 or uint16."""
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return from_pillow(image)
    if isinstance(image, np.ndarray):
        planes = image[..., None] if image.ndim == 2 else image
        # Copy where torch would warn: PIL's arrays are read-only.
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
    """Convert a colorized image, (3, H, W), to the type of the given image."""
    if isinstance(image, Tensor):
        return rgb
    if isinstance(image, np.ndarray):
        return np.ascontiguousarray(rgb.permute(1, 2, 0).numpy())
    return to_pil_image(rgb)


def load_model(
    path: Path | str, allow: Sequence[str] = (), device: torch.device | str = "cpu"
) -> Colorizer:
    """Load a model for Python; see `models.load.load_model`."""
    return Colorizer(load.load_model(path, allow, device))
