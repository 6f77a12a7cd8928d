"""Image-to-image pipelines of diffusers, in place of a network."""

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
from lightning_colorize.common.errors import UsageError, WorkError, first_line
from lightning_colorize.common.files import files_below
from lightning_colorize.tasks.graph import Run

_INDEX = "model_index.json"
_LIBRARIES = ("diffusers", "transformers")


def run_pipeline(
    folder: Path, image: str, call: Mapping[str, Any], seed: int, device: torch.device
) -> Run:
    """Return a function from a grey image, (1, 3, h, w) in 0..1, to the colored one.

    Args:
        folder: In the form of diffusers' `save_pretrained`. Nothing in it is executed: weights are
            read from safetensors, and classes are those of diffusers and transformers.
        image: The argument of the pipeline's call that takes the grey image.
        call: Its further arguments.
        seed: Of the generator of each image.
        device: Of the pipeline.

    Raises:
        UsageError: If diffusers is missing, the folder cannot be read or names other code, or the
            pipeline has no such arguments.
    """
    try:
        import diffusers
        import transformers  # noqa: F401  # nearly all pipelines need it
    except ImportError as error:
        raise UsageError(
            f"{folder} needs {error.name}: pip install 'lightning-colorize[diffusion]'"
        ) from None
    try:
        _require_known_classes(folder)
        with _quiet():
            pipeline = diffusers.DiffusionPipeline.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True
            )
            if image not in _arguments(pipeline):
                pipeline = _image_to_image(pipeline)
            # Transformers reads weights in the precision of their file.
            pipeline.to(device, torch.float32)
    except UsageError:
        raise
    except Exception as error:  # of any class that the libraries and their configurations raise
        raise UsageError(f"{folder} cannot be read: {first_line(error)}") from None
    name, arguments = type(pipeline).__name__, _arguments(pipeline)
    for argument in (image, "generator", *call):
        if argument not in arguments:
            raise UsageError(f"{folder}: {name} takes no {argument}, but {', '.join(arguments)}")
    pipeline.set_progress_bar_config(disable=True)

    def run(grey: Tensor) -> Tensor:
        given = TF.to_pil_image((grey[0] * 255).round().byte())
        # Of the CPU: its numbers are the same for each device, and for each order of the images.
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

    Some versions of diffusers import any module that the index names, and code in the folder.

    Raises:
        UsageError: If it does.
        Exception: Of several classes, if there is no index, or it has another form.
    """
    import diffusers

    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    named = [("diffusers", index["_class_name"])]
    named += [tuple(value) for name, value in index.items() if _is_component(name, value)]
    for library, cls in named:
        # A pipeline has classes of its own, which the index names by its folder in diffusers.
        is_own = library.isidentifier() and find_spec(f"diffusers.pipelines.{library}") is not None
        if not isinstance(cls, str) or not (library in _LIBRARIES or is_own):
            raise UsageError(
                f"{folder / _INDEX} names {cls} of {library}; only classes of diffusers and "
                "transformers are loaded"
            )
    for file in files_below(folder):
        if file.endswith(".py"):
            raise UsageError(
                f"{folder / file} is code; pipelines with code of their own are not loaded"
            )
        # Its weights would be read from pickles, too.
        if file.endswith(f"/{_INDEX}"):
            raise UsageError(f"{folder / file}: a pipeline inside of another is not loaded")
    if getattr(getattr(diffusers, index["_class_name"]), "_load_connected_pipes", False):
        raise UsageError(
            f"{folder}: {index['_class_name']} loads further pipelines from the hub, which are not "
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
    """Return the pipeline from images that diffusers links to one from text, if there is any."""
    from diffusers import AutoPipelineForImage2Image

    try:
        return AutoPipelineForImage2Image.from_pipe(pipeline)
    except ValueError:
        return pipeline


@contextmanager
def _quiet() -> Iterator[None]:
    """Print neither bars nor advice while a pipeline is loaded."""
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
