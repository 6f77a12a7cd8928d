"""The report in a real browser: its charts are drawn, and nothing is asked from outside."""

import io
import shutil

import pytest
from PIL import Image, ImageStat

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]

PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "is_mobile": True}
DESK = {"viewport": {"width": 1280, "height": 800}}


def test_the_page_draws_its_charts_and_asks_nothing_from_outside(report):
    failures = []
    with playwright_api.sync_playwright() as playwright:
        # Containers have no user namespaces for Chromium's sandbox.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for device in (DESK, PHONE):
            page = chromium.new_context(**device).new_page()
            page.on("pageerror", lambda error: failures.append(str(error)))
            page.on("console", lambda said: failures.append(f"{said.type}: {said.text}"))
            page.on(
                "request",
                lambda request: (
                    request.url.startswith(("file:", "data:", "blob:"))
                    or failures.append(request.url)
                ),
            )
            page.goto(report.as_uri(), timeout=120_000)
            charts = page.locator(".chart")
            assert charts.count() == 9
            for chart in charts.all():
                chart.locator("svg.main-svg").first.wait_for()
                assert chart.locator(".trace, .bars").count() > 0
            # Tables and wide charts are scrolled in themselves.
            assert (
                page.evaluate("document.documentElement.scrollWidth") <= device["viewport"]["width"]
            )
            images = "[...document.images].every((image) => image.complete && image.naturalWidth)"
            assert page.evaluate(images)
            if device is PHONE:
                for hidden in (".scroll", "nav ul"):
                    assert_is_shaded_until_scrolled(page, page.locator(hidden).first)
            assert page.locator("h1").count() == 1
            assert page.locator("nav a").count() == page.locator("main > section").count()
        chromium.close()
    assert failures == []


def assert_is_shaded_until_scrolled(page, element):
    """A shade at its right edge says that there is more, while there is."""
    page.evaluate("scrollTo(0, 0)")
    shades = []
    for left in (0, 99_999):
        element.evaluate(f"e => e.scrollLeft = {left}")
        box = element.bounding_box()
        # Headings and the best row have a colour of their own.
        x, y = box["x"] + box["width"] - 5, box["y"] + box["height"] / 2
        clip = {"x": x, "y": y, "width": 3, "height": 8}
        image = Image.open(io.BytesIO(page.screenshot(clip=clip, full_page=True)))
        shades.append(ImageStat.Stat(image.convert("L")).median[0])
    assert abs(shades[0] - shades[1]) > 10
