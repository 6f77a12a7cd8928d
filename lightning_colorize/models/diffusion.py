"""Image-to-image pipelines of diffusers as models."""

import inspect
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import to_unit
from lightning_colorize.common.arguments import install
from lightning_colorize.common.errors import UsageError, WorkError, first_line
from lightning_colorize.common.files import files_below
from lightning_colorize.models.graph import Run

INDEX = "model_index.json"
_LIBRARIES = ("diffusers", "transformers")


def run_pipeline(
    folder: Path, image: str, call: Mapping[str, Any], seed: int, device: torch.device
) -> Run:
    """Return a function that colorizes a grey image, (1, 3, h, w) in 0..1.

    The folder is written by diffusers' `save_pretrained`. No code in it is executed: weights are
    read from safetensors, and only classes of diffusers and transformers are used. `image` names
    the argument of the pipeline's call for the grey image, `call` are the others. Each image has a
    generator with this seed.
    """
    try:
        import diffusers
        import transformers  # noqa: F401  # needed by nearly all pipelines
    except ImportError as error:
        raise UsageError(f"{folder} needs {error.name}: {install('diffusion')}") from None
    try:
        _require_known_classes(folder)
        with _quiet():
            pipeline = diffusers.DiffusionPipeline.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True
            )
            if image not in _arguments(pipeline):
                pipeline = _image_to_image(pipeline)
            # transformers loads weights in the precision of their file.
            pipeline.to(device, torch.float32)
    except UsageError:
        raise
    except Exception as error:  # the libraries and their configurations raise any class
        raise UsageError(f"{folder} cannot be read: {first_line(error)}") from None
    name, arguments = type(pipeline).__name__, _arguments(pipeline)
    for argument in (image, "generator", *call):
        if argument not in arguments:
            raise UsageError(f"{folder}: {name} takes no {argument}, only {', '.join(arguments)}")
    pipeline.set_progress_bar_config(disable=True)

    def run(grey: Tensor) -> Tensor:
        given = TF.to_pil_image((grey[0] * 255).round().byte())
        # A CPU generator: its numbers do not depend on the device or the order of the images.
        generator = torch.Generator().manual_seed(seed)
        result = pipeline(**{image: given}, generator=generator, **call)
        if any(getattr(result, "nsfw_content_detected", None) or ()):
            raise WorkError(f"the safety checker of {name} made the image black")
        colored = next(iter(getattr(result, "images", ())), None)
        if not isinstance(colored, Image.Image):
            raise WorkError(f"{name} returned no PIL image in `images`")
        unit: Tensor = to_unit(TF.pil_to_tensor(colored.convert("RGB"))[None])
        return unit

    return run


def _require_known_classes(folder: Path) -> None:
    """Refuse a folder that names classes other than those of diffusers and transformers.

    Some versions of diffusers import any module named in the index, and code in the folder.

    Raises:
        Exception: Of several classes, if there is no index, or it has another format.
    """
    import diffusers

    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    named = [("diffusers", index["_class_name"])]
    named += [tuple(value) for name, value in index.items() if _is_component(name, value)]
    for library, cls in named:
        # The index names a pipeline's own classes by their folder in diffusers.
        is_own = library.isidentifier() and find_spec(f"diffusers.pipelines.{library}") is not None
        if not isinstance(cls, str) or not (library in _LIBRARIES or is_own):
            raise UsageError(
                f"{folder / INDEX} names {cls} of {library}; only classes of diffusers and "
                "transformers are loaded"
            )
    for file in files_below(folder):
        if file.endswith(".py"):
            raise UsageError(f"{folder / file} is code; pipelines with custom code are not loaded")
        # Its weights could also be read from pickles.
        if file.endswith(f"/{INDEX}"):
            raise UsageError(f"{folder / file}: nested pipelines are not loaded")
    if getattr(getattr(diffusers, index["_class_name"]), "_load_connected_pipes", False):
        raise UsageError(
            f"{folder}: {index['_class_name']} loads other pipelines from the Hub, which are not "
            "in the folder"
        )


def _is_component(name: str, value: Any) -> bool:
    """Return whether an entry of the index is a component that is loaded."""
    return not name.startswith("_") and isinstance(value, list) and value[0] is not None


def _arguments(pipeline: Any) -> list[str]:
    """Return the names of the arguments of a pipeline's call."""
    _, *names = inspect.signature(type(pipeline).__call__).parameters  # without self
    return names


def _image_to_image(pipeline: Any) -> Any:
    """Return diffusers' image-to-image pipeline for a text-to-image one, if any."""
    from diffusers import AutoPipelineForImage2Image

    try:
        return AutoPipelineForImage2Image.from_pipe(pipeline)
    except ValueError:
        return pipeline


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress progress bars and advice while a pipeline is loaded."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries = (of_diffusers, of_transformers)
    levels = [library.get_verbosity() for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity(logging.ERROR)
            library.disable_progress_bar()
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)
            library.enable_progress_bar()
