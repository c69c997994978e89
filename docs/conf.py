"""Sphinx: the pages of this folder, an API reference from the docstrings, and pages filled from data files.

`make docs` builds into build/docs/html. The package has to be importable.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from ovito_mace_phase import __version__  # noqa: E402 - the folder is put on the path above

project = "ovito-mace-phase"
author = "ovito_mace_phase developers"
copyright = author  # noqa: A001 - the name that Sphinx reads
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "filled_pages"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext"]
highlight_language = "none"
smartquotes = False  # texts show "" and options

suppress_warnings = ["myst.header"]  # tables that a program wrote begin at the second level
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say shapes and types
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"ovito-mace-phase {release}"
html_copy_source = False
html_show_sphinx = False
