"""The site: built without a warning, whole, and alone: nothing on it asks the network for anything."""

import fcntl
import html.parser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import chromium
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHROMIUM = chromium.find()
MISSING = [name for name in ("sphinx", "myst_nb", "sphinxcontrib") if not importlib.util.find_spec(name)]
MISSING += [] if shutil.which("node") else ["node"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"the site needs {', '.join(MISSING)}"),
]
LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("source", "src"),
    ("iframe", "src"),
    ("video", "src"),
    ("object", "data"),
}


class Page(html.parser.HTMLParser):
    """A page: what can be linked to, what it links to, what it loads, and its pictures without words."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loads, self.pictures = set(), [], [], []
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        # "next" and "search" lead to pages, and are not fetched
        if tag == "link" and not {"next", "prev", "search", "index", "canonical"} & set(found["rel"].split()):
            self.loads.append(found["href"])
        self.loads += [found[name] for name in found if (tag, name) in LOADED and found[name]]
        self.loads += [part.split()[0] for part in (found.get("srcset") or "").split(",") if part.strip()]
        if tag == "img":
            self.pictures.append((found["src"], found.get("alt")))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site as `make site` does, once for all processes that share the tests."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with (folder / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "site/index.html").exists():  # the last file of a build
            build(folder / "site", folder / "doctrees")
    return folder / "site"


def build(site, doctrees):
    makefile = (ROOT / "Makefile").read_text()
    command = re.search(r"^site: .*\n\t\$\(BIN\)/sphinx-build (.+)$", makefile, re.MULTILINE)[1]
    *options, target = command.replace("build/doctrees", str(doctrees)).split()
    assert target == "site"
    arguments = [sys.executable, "-m", "sphinx", *options, str(site)]
    environment = os.environ | {"GITHUB_REPOSITORY": "someone/gluon-vae"}
    # A file, and no pipe: node, if a build that failed has left it, would hold the pipe open.
    with doctrees.with_name("site.log").open("w+") as log:
        status = subprocess.run(arguments, cwd=ROOT, env=environment, stdout=log, stderr=log).returncode
        log.seek(0)
        assert status == 0, log.read()


@pytest.fixture(scope="module")
def pages(site):
    """Read all pages; what the theme leaves in _static are the templates that pages were made of."""
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.parent.name != "_static"}


def is_elsewhere(url):
    return bool(urlsplit(url).scheme or urlsplit(url).netloc) and not url.startswith("data:")


def test_every_link_leads_to_a_page_and_to_a_place_on_it(site, pages):
    for path, page in pages.items():
        for url in page.links + page.loads:
            parts = urlsplit(url)
            if not is_elsewhere(url) and not url.startswith("data:"):
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                assert target.is_file(), (path, url)
                assert target.is_relative_to(site.resolve()), (path, url)
                if target in pages and parts.fragment and "=" not in parts.fragment:  # a state of the explorer has it
                    assert unquote(parts.fragment) in pages[target].anchors, (path, url)


def test_nothing_is_loaded_from_another_host(site, pages):
    for path, page in pages.items():
        assert not [url for url in page.loads if is_elsewhere(url)], path
    for path in site.rglob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        urls = re.findall(r"url\(\s*[\"']?([^\"')]+)", text) + re.findall(r"@import\s+[\"']([^\"']+)", text)
        for url in urls:
            assert not is_elsewhere(url), (path, url)
            if not url.startswith(("data:", "#")):
                assert (path.parent / urlsplit(url).path).is_file(), (path, url)


def test_formulas_are_set_in_every_chapter(site, pages):
    for notebook in NOTEBOOKS:
        page = pages[site / f"notebooks/{notebook.stem}.html"]
        assert page.text.count('<span class="katex">') > 5
    for path, page in pages.items():
        assert "katex-error" not in page.text, path
        assert "katex.min.css" in page.text or "katex" not in page.text, path


def test_every_picture_says_in_words_what_it_shows(pages):
    for path, page in pages.items():
        for source, text in page.pictures:
            assert text is not None, (path, source)
            assert not text.endswith((".svg", ".png")), (path, source)


def test_chapters_and_the_reference_lead_to_each_other(site, pages):
    """Chapters name code whose docstrings name them (test_project): on the site both are links."""
    for notebook in NOTEBOOKS:
        links = [link for link in pages[site / f"notebooks/{notebook.stem}.html"].links if "docs/api/" in link]
        opening = re.search(r"\*\*In the package\.\*\*(.*?)\"", notebook.read_text(), re.DOTALL)[1]
        assert len({link for link in links if "#gluon_vae." in link}) >= opening.count(".py)") > 0
        for link in links:
            page = pages[(site / "notebooks" / urlsplit(link).path).resolve()]
            assert any(f"notebooks/{notebook.stem}.html" in back for back in page.links), link


def test_every_chapter_offers_itself(site, pages):
    for notebook in NOTEBOOKS:
        links = pages[site / f"notebooks/{notebook.stem}.html"].links
        download = next(link for link in links if link.endswith(f"{notebook.stem}.ipynb") and not is_elsewhere(link))
        assert (site / "notebooks" / download).resolve().read_bytes() == notebook.read_bytes()
        binder = f"https://mybinder.org/v2/gh/someone/gluon-vae/main?urlpath=lab/tree/notebooks/{notebook.name}"
        assert binder in links
        assert f"https://github.com/someone/gluon-vae/blob/main/notebooks/{notebook.name}?plain=1" in links
        assert any(link.startswith("https://github.com/someone/gluon-vae/issues/new") for link in links)


def test_the_reference_has_every_public_name(site, pages):
    import gluon_vae

    places = {anchor for page in pages.values() for anchor in page.anchors}
    for name in gluon_vae.__all__:
        item = getattr(gluon_vae, name)
        place = f"{item.__module__}.{name}"
        assert place in places
        assert any(link.endswith(f"#{place}") for link in pages[site / "docs/reference.html"].links)


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
@pytest.mark.parametrize("name", ["docs/index", "notebooks/01_vae", "docs/reference", "search"])
def test_a_browser_shows_the_page_from_disk_without_a_complaint(name, site, tmp_path):
    page = (site / f"{name}.html").as_uri()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    options += [f"--user-data-dir={tmp_path}", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=4000"]
    done = subprocess.run([CHROMIUM, *options, "--dump-dom", page], capture_output=True, text=True, timeout=120)
    assert "gluon-vae" in done.stdout
    # the theme says in the console what it does, as "[PST]: Changed to auto mode"
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line and "[PST]: " not in line]
