"""Readers of a page's sections, tables and charts."""

import json
import re


def content(html):
    """Return a page without thumbnails and without Plotly's script, if it has one."""
    scripts = re.findall(r"<script>.*?</script>", html, re.DOTALL)
    plotly = [script for script in scripts if len(script) > 1_000_000]
    assert len(plotly) == ('class="figure"' in html)
    for script in plotly:
        html = html.replace(script, "")
    return re.sub(r"data:image/\w+;base64,[\w+/=]+", "data:", html)


def requests_another_site(text):
    return re.search(r"https?:|//[a-z]|@import|url\(", text) is not None


def section(text, name):
    """Return a section, or an empty string."""
    match = re.search(rf'<section id="{name}">.*?</section>', text, re.DOTALL)
    return match[0] if match else ""


def table(text):
    """Return the cells of each row of the first table's body."""
    body = re.search(r"<tbody>(.*?)</tbody>", text, re.DOTALL)[1]
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def headings(text):
    """Return the headings of the first table's columns."""
    head = re.search(r"<thead>(.*?)</thead>", text, re.DOTALL)[1]
    return re.findall(r"<th[^>]*>(.*?)</th>", head)


def figures(text):
    """Return Plotly's data and layout of each chart."""
    texts = re.findall(r'class="figure">(.*?)</script>', text, re.DOTALL)
    return [json.loads(figure) for figure in texts]


def embedded(text, name):
    """Return the JSON in a script of the page."""
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', text, re.DOTALL)[1])
