"""Networks that follow hints by construction, and a person who paints on a page."""

import base64
import io
import time
from functools import partial

import numpy as np
import torch
from PIL import Image

from lightning_colorize.losses import CrossEntropy
from lightning_colorize.models.exported import write_exported
from lightning_colorize.networks import ConditionedEncoder, ConvEncoder, Denoiser, UpsampleDecoder
from lightning_colorize.tasks import GenerativeTask, RegressionTask

ACTS = {
    "mouse": lambda element: element.click(),
    "finger": lambda element: element.tap(),
    "keyboard": lambda element: element.press("Enter"),
}
CANVAS = "document.querySelector('[data-part=colored]').toDataURL()"


def follower(draws=False, size=64):
    """Return a model that diffuses the hints' colors; with `draws`, it samples around them."""
    encoder = ConditionedEncoder(ConvEncoder(widths=[4, 4], convs=1, norm="none"), palette=False)
    parts = {"encoder": encoder, "decoder": partial(UpsampleDecoder, widths=[4], convs=0)}
    if draws:
        tiny = partial(Denoiser, width=8, blocks=(1, 1, 1))
        task = GenerativeTask(**parts, denoiser=tiny, ema_decay=None)
    else:
        task = RegressionTask(**parts, loss=CrossEntropy())
    head, gate = task.net.head, task.net.gate
    with torch.no_grad():
        head.conv.weight.zero_()
        head.conv.bias[:] = head.bins.centers.square().sum(1) / -40  # grey without hints
        gate.logit.bias.fill_(20)
    model = task.eval().to_model()
    model.size = size
    return model


def write_follower(file, draws=False, size=64):
    write_exported(file, follower(draws, size))
    return file


def write_photograph(file, width=150, height=120):
    ramp = np.linspace(90, 170, width * height).reshape(height, width).astype(np.uint8)
    Image.fromarray(ramp).convert("RGB").save(file)
    return file


def paint_across(page, photograph):
    """Paint a stroke across a photograph's long side; the color follows it, also when saved."""
    page.set_input_files("[data-part=file]", photograph)
    page.wait_for_selector("[data-part=save]", timeout=120_000)
    samples = page.locator("[data-part=samples] button")
    if samples.count() or "Other colorings" in page.inner_text("main"):
        samples.nth(3).wait_for(timeout=60_000)
    box = page.locator("[data-part=layer]").bounding_box()
    ends = [(0.2, 0.5), (0.8, 0.5)] if box["width"] > box["height"] else [(0.5, 0.2), (0.5, 0.8)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in ends]
    before = page.evaluate(CANVAS)
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=200)
    page.mouse.up()
    page.locator("[data-part=probable] button").first.wait_for()
    page.locator("[data-part=hues] button").nth(9).click()
    page.wait_for_function(f"before => {CANVAS} !== before", arg=before)
    for share in np.linspace(0, 1, 9):
        x, y = (a + share * (b - a) for a, b in zip(*ends, strict=True))
        red, _, blue = color_at(page, x, y)
        assert blue > red + 60
    with page.expect_download() as download:
        page.click("[data-part=save]")
    saved = Image.open(download.value.path())
    assert saved.size == Image.open(photograph).size


def color_at(page, x, y):
    data = base64.b64decode(page.evaluate(CANVAS).partition(",")[2])
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.array(image.getpixel((int(x * image.width), int(y * image.height))), dtype=int)


def paint_on(page, photograph, by, draws, folder):
    """Paint by `mouse`, `finger` or `keyboard`; check the colors; undo, save and load."""
    page.set_input_files("[data-part=file]", photograph)
    page.wait_for_selector("[data-part=save]", timeout=120_000)
    if draws:
        samples = page.locator("[data-part=samples] button")
        samples.nth(3).wait_for(timeout=60_000)
        first = page.evaluate(CANVAS)
        samples.nth(2).click()
        page.wait_for_function(f"before => {CANVAS} !== before", arg=first)
        assert samples.nth(2).get_attribute("aria-pressed") == "true"
    before, grey = page.evaluate(CANVAS), color_at(page, 0.5, 0.5)
    layer, hue = page.locator("[data-part=layer]"), page.locator("[data-part=hues] button").nth(9)
    if by == "keyboard":
        layer.press("ArrowLeft")
        layer.press("ArrowRight")
    (act := ACTS[by])(layer)
    page.locator("[data-part=probable] button").first.wait_for()
    start = time.perf_counter()
    act(hue)
    page.wait_for_function(f"before => {CANVAS} !== before", arg=before)
    seconds = time.perf_counter() - start
    print(f"{by}: {seconds:.2f} s from the choice to the color")
    blue = color_at(page, 0.5, 0.5)
    assert (blue - grey)[2] > (blue - grey)[0] + 40  # towards the chosen color
    painted = page.evaluate(CANVAS)
    page.click("[data-part=done]")
    with page.expect_download() as download:
        page.click("[data-part=project]")
    download.value.save_as(folder / "project.json")
    if by == "keyboard":
        page.keyboard.press("Control+z")
    else:
        page.click("[data-part=undo]")
    page.wait_for_function(f"before => {CANVAS} === before", arg=before)
    assert page.locator("[data-part=points] i").count() == 0
    page.set_input_files("[data-part=load]", folder / "project.json")
    page.wait_for_function(f"painted => {CANVAS} === painted", arg=painted)
    saved = (folder / "project.json").read_text()
    (folder / "edited.json").write_text(saved.replace('"seed":', '"seed":-1'))
    page.set_input_files("[data-part=load]", folder / "edited.json")
    page.wait_for_selector("text=edited.json contains no colors that this page saved")
    assert page.evaluate(CANVAS) == painted
    page.set_input_files("[data-part=load]", photograph)
    page.wait_for_selector("text=ramp.png contains no colors that this page saved")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with page.expect_download() as download:
        page.click("[data-part=save]")
    saved = Image.open(download.value.path())
    assert saved.size == Image.open(photograph).size
    middle = np.array(saved.convert("RGB").getpixel((saved.width // 2, saved.height // 2)), int)
    assert np.abs(middle - blue).max() < 12
