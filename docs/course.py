"""What the site links to what: chapters and code, papers and the places that cite them, the explorer."""

import importlib
import json
import os
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import yaml
from docutils import nodes
from pybtex.database import Entry, parse_file

ROOT = Path(__file__).parent.parent
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CHAPTERS = {int(path.stem[:2]): path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
MODULES = {
    module: f"docs/api/{page.stem}"
    for page in sorted((ROOT / "docs/api").glob("*.md"))
    for module in re.findall(r"automodule:: (gluon_vae\.\w+)", page.read_text())
}
EXPLORER = ROOT / "docs/explorer"
HAS_EXPLORER = (EXPLORER / "index.html").is_file()
SEE_CHAPTERS = re.compile(r"See\s+chapters?\s+[\d,\sand]+\.")
TO_CODE = re.compile(r"\[`([\w.]+)`\]\((?:\.\./)*gluon_vae/(\w+)\.py\)")
TO_EXPLORER = re.compile(r"\]\((?:\.\./)*docs/explorer/(?:index\.html)?(#[^)\s]*)?\)")
ARXIV = re.compile(r"(?<=arXiv )\d{4}\.\d{4,5}")


def repository() -> str | None:
    """Return the page of the repository that the site is built from, if it is on GitHub."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"https://github.com/{name}"
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    try:
        url = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:  # no git
        return None
    found = re.fullmatch(r"(?:https://|git@|ssh://git@)github\.com[/:](.+?)(?:\.git)?/?", url)
    return f"https://github.com/{found[1]}" if found else None


REPOSITORY = repository()


# Papers


def plain(text: str) -> str:
    """Return text without accents and line breaks, as citations are compared."""
    letters = unicodedata.normalize("NFKD", text)
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())


def names(entry: Entry) -> list[str]:
    """Return the family names of a paper's authors."""
    return [plain(" ".join(person.prelast_names + person.last_names)) for person in entry.persons["author"]]


def cites(text: str, entry: Entry) -> bool:
    """Whether plain text cites a paper: by its number, or by its authors and year."""
    if "eprint" in entry.fields and entry.fields["eprint"] in text:
        return True
    first, *others = names(entry)
    forms = [" and ".join([first, *others])] if len(others) < 2 else [f"{first} et al."]
    if len(others) > 1:
        forms.append(f"{', '.join([first, *others[:-1]])} and {others[-1]}")
    return any(re.search(rf"{re.escape(form)},? \(?{entry.fields['year']}\b", text) for form in forms)


def prose(path: Path) -> str:
    """Return the text of a file in which papers are cited: of a notebook, its Markdown."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return plain(text)


PAPERS = parse_file(ROOT / "docs/references.bib").entries
KEY_OF = {entry.fields["eprint"]: key for key, entry in PAPERS.items() if "eprint" in entry.fields}
CITING = ["notebooks/*.ipynb", "gluon_vae/*.py", "gluon_vae/*.mplstyle", "experiments/*.py", "README.md", "docs/*.md"]
PROSE = {path: prose(path) for pattern in CITING for path in sorted(ROOT.glob(pattern))}


def arxiv(role, rawtext, text, lineno, inliner, options=None, content=()):
    """Lead the number of a paper to its place among the papers."""
    env = inliner.document.settings.env
    uri = env.app.builder.get_relative_uri(env.docname, "docs/papers")
    anchor = f"#paper-{KEY_OF[text]}" if text in KEY_OF else ""
    return [nodes.reference(rawtext, text, refuri=uri + anchor, internal=True)], []


def say_where_papers_are_cited(app, doctree, docname):
    """Add to every paper a name that stays, and links to the chapters and modules that cite it."""
    if docname != "docs/papers":
        return
    for citation in app.env.get_domain("cite").citations:
        for item in doctree.findall(nodes.citation):
            if citation.citation_id in item["ids"]:
                item["ids"].append(f"paper-{citation.key}")
                if links := places(app, PAPERS[citation.key]):
                    item += nodes.paragraph("", "Cited in ", *links, classes=["cited-in"])


def places(app, paper):
    """Return links from the page of papers to the chapters and to the reference of the modules that cite one."""
    links = []
    for path in [path for path, text in PROSE.items() if cites(text, paper)]:
        if path in CHAPTERS.values():
            text, page = nodes.Text(f"chapter {int(path.stem[:2])}"), f"notebooks/{path.stem}"
            anchor = ""
        elif f"gluon_vae.{path.stem}" in MODULES:
            text, page = nodes.literal(text=path.stem), MODULES[f"gluon_vae.{path.stem}"]
            anchor = f"#module-gluon_vae.{path.stem}"
        else:
            continue
        uri = app.builder.get_relative_uri("docs/papers", page) + anchor
        links += [nodes.Text(", "), nodes.reference("", "", text, refuri=uri, internal=True)]
    return links[1:]


# Chapters and code


def link_source(app, docname, source):
    """Lead what a text says of the package's files, of papers and of the explorer to the site's pages."""
    if docname.startswith("notebooks/"):
        book = json.loads(source[0])
        for cell in book["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = linked("".join(cell["source"]))
        source[0] = json.dumps(book)
    else:
        source[0] = linked(source[0])


def linked(text):
    """Return Markdown with those links in it."""
    text = TO_CODE.sub(to_reference, text)
    text = ARXIV.sub(lambda number: f"{{arxiv}}`{number[0]}`", text)
    return TO_EXPLORER.sub(lambda link: f"](explorer:{link[1] or ''})", text)


def to_reference(link):
    """Return the reference's entry for what a link to a file of the package names."""
    name, module = link.groups()
    if name == module:
        return f"{{py:mod}}`{name} <gluon_vae.{module}>`"
    return f"{{py:obj}}`{name} <gluon_vae.{module}.{name.removeprefix(f'{module}.')}>`"


def link_docstring(app, what, name, item, options, lines):
    """Lead the chapters and the papers that a docstring names to their pages."""

    def to_chapters(sentence):
        return re.sub(r"\d+", lambda n: f":doc:`{n[0]} </notebooks/{CHAPTERS[int(n[0])].stem}>`", sentence[0])

    text = SEE_CHAPTERS.sub(to_chapters, "\n".join(lines))
    lines[:] = re.sub(r"(?<=arXiv)(\s+)(\d{4}\.\d{4,5})", r"\1:arxiv:`\2`", text).split("\n")


def skip_fields(app, what, name, item, skip, options):
    """Leave out what Python says of the fields of a named tuple, which is their number."""
    return True if (item.__doc__ or "").startswith("Alias for field number") else None


def list_of_chapters() -> str:
    """Return the chapters with the question that each of them asks."""
    lines = []
    for number, path in CHAPTERS.items():
        opening = "".join(json.loads(path.read_text())["cells"][0]["source"])
        title = re.match(rf"# {number} · (.+)", opening)[1]
        question = re.search(r"\*\*Question\.\*\* (.+)", opening)[1]
        lines.append(f"| {number} | [{title}](/notebooks/{path.name}) | {question.replace('|', chr(92) + '|')} |")
    return "\n".join(["| | chapter | question |", "|---|---|---|", *lines])


def table_of_public_names() -> str:
    """Return a table of what ``import gluon_vae`` offers: what it is, and the chapters that explain it."""
    package = importlib.import_module("gluon_vae")
    items = [(getattr(package, name), name) for name in package.__all__]
    if missing := {item.__module__ for item, _ in items} - set(MODULES):
        raise SystemExit(f"The pages in docs/api lack {', '.join(sorted(missing))}, which has public names")
    rows = ["| name | what it is | chapters |", "|---|---|---|"]
    for item, name in sorted(items, key=lambda pair: list(MODULES).index(pair[0].__module__)):
        summary = " ".join(item.__doc__.split("\n\n")[0].split())
        see = SEE_CHAPTERS.search(item.__doc__)
        numbers = re.findall(r"\d+", see[0]) if see else []
        chapters = ", ".join(f"[{n}](/notebooks/{CHAPTERS[int(n)].name})" for n in numbers)
        text = linked(SEE_CHAPTERS.sub("", summary)).replace("``", "`").replace("|", "\\|")
        rows.append(f"| {{py:obj}}`{name} <{item.__module__}.{name}>` | {text} | {chapters} |")
    return "\n".join(rows)


# How to cite


def as_bibtex(cff: dict) -> str:
    """Return the project's own entry for a list of papers."""
    fields = {
        "author": f"{{{cff['authors'][0]['name']}}}",
        "title": f"{{{cff['title']}}}: the variational auto-encoder in {{MXNet Gluon}}",
        "version": cff["version"],
        "note": f"{cff['license']} License",
    }
    if REPOSITORY:
        fields["url"] = REPOSITORY
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join(["```bibtex", "@software{gluon_vae,", *lines, "}", "```"])


SUBSTITUTIONS = {
    "chapters": list_of_chapters(),
    "public_names": table_of_public_names(),
    "bibtex": as_bibtex(CITATION),
    "explorer": "- To play: [the explorer](explorer:), a trained VAE that answers as one drags its code."
    * HAS_EXPLORER,
}


# The folder


def link_explorer(app, doctree, docname):
    """Give links to the explorer the way to it from this page."""
    for link in doctree.findall(nodes.reference):
        if link.get("refuri", "").startswith("explorer:"):
            view = link["refuri"].removeprefix("explorer:")
            link["refuri"] = "../" * docname.count("/") + "explorer/index.html" + view


def finish(app, error):
    """Put the explorer beside the pages, and a page in front that leads home."""
    if error:
        return
    folder = Path(app.outdir)
    if HAS_EXPLORER:
        sources = shutil.ignore_patterns("*.py", "__pycache__")
        shutil.copytree(EXPLORER, folder / "explorer", ignore=sources, dirs_exist_ok=True)
    home = app.builder.get_target_uri(app.config.root_doc)
    title = app.config.html_title
    (folder / "index.html").write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="refresh" content="0; url={home}"><a href="{home}">{title}</a></html>\n'
    )


def setup(app):
    """Connect what is above."""
    app.add_role("arxiv", arxiv)
    app.connect("source-read", link_source)
    app.connect("autodoc-process-docstring", link_docstring)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("doctree-resolved", say_where_papers_are_cited)
    app.connect("doctree-resolved", link_explorer)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
