"""Self-contained HTML files: style sheet, scripts, charts and thumbnails are inside the page."""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from lightning_colorize.common.text import without_folders
from lightning_colorize.evaluation.table import Table
from lightning_colorize.reports.kit.charts import Figure

_ENVIRONMENT = Environment(
    loader=PackageLoader(__package__),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_ENVIRONMENT.filters["shown"] = without_folders


class Section(NamedTuple):
    """A section of a page, with its id in the address."""

    id: str
    title: str
    text: str = ""
    figure: Figure | None = None
    table: Table | None = None


def render_sections(title: str, lead: str, sections: Sequence[Section]) -> str:
    """Return a page of sections below a first line."""
    page = {"title": title, "lead": lead, "columns": 1, "sections": sections}
    return render("sections.html.jinja", "kit.css", "kit.js", page=page)


def render(template: str, *assets: str, **context: Any) -> str:
    """Return the page of a template, with style sheets and scripts of templates/ in this order.

    Its navigation links to each section by the section's heading.
    """
    folder = files(__package__) / "templates"
    css, js = (
        Markup("\n").join(
            Markup((folder / name).read_text(encoding="utf-8"))
            for name in assets
            if name.endswith(suffix)
        )
        for suffix in (".css", ".js")
    )
    html = _ENVIRONMENT.get_template(template).render(css=css, js=js, **context)
    sections = re.findall(r'<section id="(\w+)">\n<h2>(.*?)</h2>', html)
    links = "\n".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in sections)
    html = html.replace("<!-- sections -->", links)
    plotly = f"<script>{get_plotlyjs()}</script>" if 'class="figure"' in html else ""
    return html.replace("<!-- plotly -->", plotly)
