"""Sphinx's settings. The pages are written by `book.site`; only local files are ever loaded."""

from __future__ import annotations

from typing import Any

project = "Headbook"
html_title = "Headbook"
author = "Headbook"
language = "en"
extensions = ["myst_parser", "sphinxcontrib.bibtex", "sphinx.ext.mathjax", "book.sphinx_ext"]
templates_path = ["templates"]
exclude_patterns = ["*.fragments.json"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_disable_syntax = ["html_block", "html_inline"]  # a token `<s>` is text, not markup
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # a cell may start a section at any depth

numfig = True
numfig_secnum_depth = 1
bibtex_bibfiles = ["refs.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

html_theme = "sphinx_book_theme"
html_theme_options: dict[str, Any] = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "use_sidenotes": False,
    "footer_content_items": [],
    "navbar_persistent": [],  # else a second search bar
    "pygments_light_style": "xcode",
    "pygments_dark_style": "github-dark",
}
html_context = {"default_mode": "auto"}
html_static_path = ["static", "../vendor/vega-bundle.js", "../vendor/tex-svg.js"]
html_extra_path = ["../../CITATION.cff"]
html_css_files = ["book.css"]
html_js_files = [("book.js", {"defer": "defer"})]
html_favicon = "static/favicon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_last_updated_fmt = None
html_permalinks_icon = "#"
mathjax_path = "tex-svg.js"  # MathJax 3 with its fonts inside; Sphinx's default is another host
