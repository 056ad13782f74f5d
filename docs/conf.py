"""The site: the course, the package and the results, as pages that need nothing from the network.

``make site`` builds it with the repository's root as source, so that the links of notebooks and README hold.
``course.py``, beside this file, says what is linked to what.
"""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import course
from sphinxcontrib import katex

if not shutil.which("node"):
    raise SystemExit("KaTeX sets the site's formulas while it is built, and needs node, which is not on the PATH")

project = course.CITATION["title"]
author = copyright = course.CITATION["authors"][0]["name"]  # noqa: A001
release = course.CITATION["version"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "notebooks/*.ipynb", "*.md", "benchmarks/*.md"]
exclude_patterns = ["**/.*"]
templates_path = ["_templates"]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
    "sphinxcontrib.katex",
    "course",
]

nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath", "substitution"]
myst_heading_anchors = 3
myst_url_schemes = ["http", "https", "mailto", "explorer"]
myst_substitutions = course.SUBSTITUTIONS
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "alpha"
bibtex_reference_style = "author_year"

toc_object_entries_show_parents = "hide"
autodoc_inherit_docstrings = False  # MXNet's say nothing of ours
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have types and shapes
viewcode_follow_imported_members = False  # else a page of source names the wrong module in its links back
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Formulas are set while the site is built, so that no page needs a script, or another host, for them.
katex_prerender = True
katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 120  # seconds: node is slow to start on a machine that is busy


def start_node(rundir: Path, timeout: float) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start node, and call until it answers: the extension calls once, when node may not be listening yet."""
    place, until = rundir / "katex.sock", time.monotonic() + timeout
    command = katex.KaTeXServer.build_command(socket=place)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=rundir)
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(place))
            return process, connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > until:
                raise katex.KaTeXServer.timeout_error(timeout) from None
            time.sleep(0.01)


katex.KaTeXServer.start_server_process = start_node
katex_css_path = "katex/katex.min.css"

html_theme = "sphinx_book_theme"
html_title = project
html_domain_indices = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"**": ["navbar-logo.html", "search-button-field.html", "explorer.html", "sbt-sidebar-nav.html"]}
html_context = {"default_mode": "auto", "explorer": course.HAS_EXPLORER}
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],
    "repository_branch": "main",
    "search_bar_text": "Search",
    "use_fullscreen_button": False,
}
if course.REPOSITORY:
    html_theme_options |= {
        "repository_url": course.REPOSITORY,
        "use_repository_button": True,
        "use_source_button": True,
        "use_issues_button": True,
        "launch_buttons": {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"},
    }
