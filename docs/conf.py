"""Sphinx's configuration: `make docs` builds the site, from nothing but this repository and packages.

Nothing on a page comes from elsewhere: formulas are MathML, and the names of other projects that pages link
to are listed in `inventories`. `tools/check_site.py` holds the site to that.
"""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

import fastdist

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "fastdist"
author = "the fastdist developers"
project_copyright = author
version = release = fastdist.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    # of this folder
    "gallery",
    "inherited",
    "mathml",
    "repository",
]

# ---- text ----------------------------------------------------------------------------------------

exclude_patterns = ["_templates", "inventories"]
templates_path = ["_templates"]
myst_enable_extensions = ["attrs_block", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
highlight_language = "none"
smartquotes = False
nitpicky = True
# Attributes that have no entry of their own, and an argument that is called as a module is.
UNLISTED = ["arg_constraints", "has_rsample", "normals_per_event"]
nitpick_ignore = [("py:obj", name) for name in (*UNLISTED, "lock", "types")]
suppress_warnings = ["myst.header"]  # a page of CONTRIBUTING begins where its headings are deep

# ---- docstrings ----------------------------------------------------------------------------------

default_role = "autolink"
autodoc_typehints = "none"  # numpydoc's sections say it in words
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_context = {
    "of_every_distribution": [
        name for name in dir(fastdist.Distribution) if name[0] != "_" and name not in UNLISTED
    ]
}
numpydoc_show_class_members = False  # the template of a class lists them

# ---- other projects ------------------------------------------------------------------------------

intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.txt"),
    "numpy": ("https://numpy.org/doc/stable", "inventories/numpy.txt"),
    "scipy": ("https://docs.scipy.org/doc/scipy", "inventories/scipy.txt"),
}

# ---- pages ---------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"fastdist {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 8,
    "navbar_end": ["theme-switcher"],
    "show_toc_level": 2,
    # On every page but those of the gallery, whose programs have long lines; two patterns must not meet.
    "secondary_sidebar_items": {"[!g]**": ["page-toc"], "gu**": ["page-toc"]},
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"start": [], "benchmarks": []}


def close_up(app: Sphinx, page: nodes.document) -> None:
    """A blank line at the end of a block is doctest's, not the reader's."""
    for block in page.findall(nodes.literal_block):
        text = block.astext().rstrip()
        block.rawsource = text
        block.children = [nodes.Text(text)]


def setup(app: Sphinx) -> None:
    """Sphinx calls it."""
    app.connect("doctree-read", close_up)
