"""How Sphinx builds the site: `make docs`. What is made at build time stands in site_parts.py."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import resnet_bench  # noqa: E402

project = "resnet_bench"
author = "the resnet_bench authors"
release = resnet_bench.__version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_parts"]
exclude_patterns = ["_build"]
suppress_warnings = ["myst.header"]  # the generated data dictionary begins a section where a page has its title

# Every heading down to the third level can be linked to, under the name that web forges give it.
myst_heading_anchors = 3
# site: what the build puts beside the pages, as html_extra_path does with the reports.
myst_url_schemes = {"http": None, "https": None, "mailto": None, "site": {"url": "{{path}}"}}

# A name in single quotes in a docstring is code; types of other packages are not looked up, as that needs the network.
default_role = "code"
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"resnet_bench {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
