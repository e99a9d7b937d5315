"""How Sphinx makes the site of the pages, which stay plain Markdown: `make docs`.

The pages are read where they are, README.md as the first one, so every link between them works here as it
does on the host of the repository. The navigation is the table at README's end.
"""

from __future__ import annotations

import sys
from pathlib import Path

from layercache import __version__

sys.path.insert(0, str(Path(__file__).parent))  # of the extension

project = "layercache"
author = "The layercache authors"
version = release = __version__
root_doc = "README"
include_patterns = ["*.md", "docs/**.md"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "extension"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # annotations name types of the standard library, and inner ones
autodoc_typehints_format = "short"
autodoc_member_order = "groupwise"
default_role = "py:obj"
suppress_warnings = ["ref.python"]  # `Cache` is a name in two modules: the link leads to the first
highlight_language = "none"  # of a block that names none: the output of a command
myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = "furo"
html_title = f"layercache {release}"
html_extra_path = ["extra"]
html_static_path = ["static"]
html_css_files = ["layercache.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
