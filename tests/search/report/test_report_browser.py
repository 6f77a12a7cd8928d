"""The report in a real browser: its charts are drawn, and nothing is asked from outside."""

import shutil

import pytest

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
            pictures = "[...document.images].every((image) => image.complete && image.naturalWidth)"
            assert page.evaluate(pictures)
            assert page.locator("h1").count() == 1
            assert page.locator("nav a").count() == page.locator("main > section").count()
        chromium.close()
    assert failures == []
