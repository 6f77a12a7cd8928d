"""A page on this machine that colors photographs with several models (Gradio)."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio
import numpy as np
from PIL import Image

from lightning_colorize.color import to_eight_bits
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import ImageError, read_image
from lightning_colorize.inference.colorizer import Colorizer, Prediction

_PREVIEW = 640  # pixels of the short side
_EXAMPLES = ("valley", "cat", "skyline", "people")
_KEPT_SECONDS = 3600  # of an uploaded file, and of what the networks predict for it
_SYSTEM_FONT = ["system-ui", "sans-serif"]  # Gradio's own are fetched from another site

_Predictions = dict[str, Prediction]


def build_demo(models: Mapping[str, Colorizer], max_pixels: int) -> gradio.Blocks:
    """Return the page.

    Args:
        models: By the names that the page shows.
        max_pixels: Larger images are refused.
    """
    first = next(iter(models.values()))
    dials = [name for name in ("vividness", "strength") if _has(models, name)]

    def predict(file: str | None) -> tuple[_Predictions, str | None]:
        """Let each network see the photograph, once."""
        if file is None:
            return {}, None
        try:
            rgb = to_eight_bits(read_image(Path(file)))
        except ImageError as error:
            raise gradio.Error(
                f"This file cannot be read: {error}", print_exception=False
            ) from None
        height, width = rgb.shape[-2:]
        if height * width > max_pixels:
            raise gradio.Error(
                f"This image has {height * width / 1e6:.1f} megapixels; the most is "
                f"{max_pixels / 1e6:g}",
                print_exception=False,
            )
        return {name: model.prepare(rgb) for name, model in models.items()}, Path(file).stem

    def show(predictions: _Predictions, *values: float) -> list[Any]:
        """Return grey and colored previews, with this decoding."""
        pairs: list[Any] = []
        for name in models:
            if name not in predictions:
                pairs.append(None)
                continue
            colored = _decode(predictions[name], dials, values, _PREVIEW)
            grey = Image.fromarray(colored).convert("L").convert("RGB")
            pairs.append((np.asarray(grey), colored))
        return pairs

    def write(predictions: _Predictions, stem: str | None, *values: float) -> list[str]:
        """Write the images at full size."""
        if not predictions:
            raise _refusal("Choose a photograph first")
        folder = Path(tempfile.mkdtemp(dir=page.GRADIO_CACHE))
        files = []
        for name, prediction in predictions.items():
            file = folder / f"{stem}-{name.replace('/', '_')}.png"
            Image.fromarray(_decode(prediction, dials, values, None)).save(file)
            files.append(str(file))
        return files

    with gradio.Blocks(
        title="Color a photograph",
        analytics_enabled=False,
        delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS),
    ) as blocks:
        page: gradio.Blocks = blocks
        gradio.Markdown(
            "# Color a black-and-white photograph\n"
            "The colors are likely ones, not those of the scene."
        )
        predictions = gradio.State({}, time_to_live=_KEPT_SECONDS)
        stem = gradio.State(None)
        with gradio.Row():
            given = gradio.Image(
                label="Photograph",
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard"],
                height=260,
            )
            with gradio.Column():
                sliders = [_slider(name, first) for name in dials]
                save = gradio.Button("Write the files at full size")
                written = gradio.Files(label="Files", interactive=False, height=120)
        with gradio.Row():
            sheets = [gradio.ImageSlider(label=name, interactive=False) for name in models]
        gradio.Examples(_example_files(Path(page.GRADIO_CACHE)), given, label="Examples")
        # One at a time: they share the models.
        alone: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "models"}
        decoding: list[Any] = [predictions, *sliders]
        seen = given.change(predict, given, [predictions, stem], **alone)
        seen.then(show, decoding, sheets, **alone)
        for slider in sliders:
            slider.input(show, decoding, sheets, **alone, trigger_mode="always_last")
        save.click(write, [predictions, stem, *sliders], written, **alone)
    return page


def _refusal(text: str) -> gradio.Error:
    return gradio.Error(text, print_exception=False)


def _has(models: Mapping[str, Colorizer], name: str) -> bool:
    return any(name in model.decoding for model in models.values())


def _slider(name: str, model: Colorizer) -> gradio.Slider:
    return gradio.Slider(
        0,
        1 if name == "vividness" else 1.5,
        model.decoding.get(name, 0.5),
        step=0.05,
        label=name.capitalize(),
    )


def _decode(
    prediction: Prediction, dials: list[str], values: tuple[float, ...], side: int | None
) -> np.ndarray:
    """Return (H, W, 3), uint8, with those of the values that the model has."""
    own = prediction.model.decoding
    chosen = {name: value for name, value in zip(dials, values, strict=True) if name in own}
    return prediction.colorize(side, **chosen).permute(1, 2, 0).numpy()


def _example_files(folder: Path) -> list[str]:
    """Write grey versions of public-domain photographs; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in _EXAMPLES:
        file = folder / f"{name}.jpg"
        Image.open(bundled("photographs") / f"{name}.jpg").convert("L").save(file)
        files.append(str(file))
    return files


def serve(page: gradio.Blocks, host: str, port: int, max_bytes: int) -> None:
    """Serve the page until interrupted.

    Raises:
        UsageError: If the port is taken.
    """
    theme = gradio.themes.Default(font=_SYSTEM_FONT, font_mono=["monospace"])
    try:
        page.launch(
            server_name=host,
            server_port=port,
            max_file_size=max_bytes,
            share=False,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
            theme=theme,
            prevent_thread_lock=True,
        )
    except OSError:
        raise UsageError(f"port {port} is taken; choose another with --port") from None
    print(f"http://{host}:{page.server_port} (Ctrl-C stops it)", flush=True)
    page.block_thread()
