"""How are these pages built? `make docs` runs Sphinx with this file; the pages are in docs/build/index.html."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "gallery")]

project = "Bequest"
author = "The Bequest developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "building.pages"]
exclude_patterns = ["build", "generated", "building", "gallery/*.py"]
myst_enable_extensions = ["attrs_block", "attrs_inline", "deflist"]
myst_heading_anchors = 3
default_role = "code"  # docstrings write names in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
html_theme = "furo"
html_title = "Bequest"
html_show_sourcelink = False
html_copy_source = False
