"""The sweep report in a real browser."""

import io

import pytest
from PIL import Image, ImageStat

from tests.reports.conftest import DESK, PHONE

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("device", [DESK, PHONE])
def test_the_report_fits_the_screen_and_requests_nothing(visit, report, device):
    page = visit(report, **device)
    # Tables scroll in their own boxes.
    assert page.evaluate("document.documentElement.scrollWidth") <= device["viewport"]["width"]
    images = "[...document.images].every((image) => image.complete && image.naturalWidth)"
    assert page.evaluate(images)
    if device is PHONE:
        # A narrower one, on which the few links do not fit.
        page.set_viewport_size({"width": 240, "height": 740})
        for hidden in (".scroll", "nav ul"):
            assert_is_shaded_until_scrolled(page, page.locator(hidden).first)
        tops = "strip => [...strip.children].slice(-2).map((tile) => tile.offsetTop)"
        for strip in page.locator(".strips .tiles").all():
            before, truth = strip.evaluate(tops)
            assert truth == before
    assert page.locator("h1").count() == 1
    assert page.locator("nav a").count() == page.locator("main > section").count()


def assert_is_shaded_until_scrolled(page, element):
    """A shade at the right edge shows that there is more, until the end."""
    page.evaluate("scrollTo(0, 0)")
    shades = []
    for left in (0, 99_999):
        element.evaluate(f"e => e.scrollLeft = {left}")
        box = element.bounding_box()
        # Headings and the best row have a color of their own.
        x, y = box["x"] + box["width"] - 5, box["y"] + box["height"] / 2
        clip = {"x": x, "y": y, "width": 3, "height": 8}
        image = Image.open(io.BytesIO(page.screenshot(clip=clip, full_page=True)))
        shades.append(ImageStat.Stat(image.convert("L")).median[0])
    assert abs(shades[0] - shades[1]) > 10
