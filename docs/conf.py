"""Configuration of the documentation; build it with `sphinx-build -W docs docs/_build/html`."""

import os
import sys
from pathlib import Path

# Lightning and W&B neither write nor ask while the package is imported.
os.environ["WANDB_MODE"] = "disabled"
sys.path.insert(0, str(Path(__file__).parent))

import generated

project = "lightning_colorize"
author = "The lightning_colorize authors"
copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "notebooks"]
default_role = "code"
nitpicky = False
smartquotes = False

html_theme = "furo"
html_title = "lightning_colorize"
html_show_sphinx = False
html_show_copyright = False

myst_heading_anchors = 4

autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False


def _fill(app: object, document: str, source: list[str]) -> None:
    source[0] = generated.fill(source[0])


def setup(app: object) -> None:
    """Generate the reference pages when Sphinx reads them."""
    app.connect("source-read", _fill)
    app.connect("autodoc-process-docstring", generated.escape_docstring)
