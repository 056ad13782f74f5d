"""The list of papers: all that are cited anywhere, once, and no others."""

import json
import re
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PATTERNS = (
    *("notebooks/*.ipynb", "gluon_vae/*.py", "gluon_vae/*.mplstyle", "experiments/*.py", "benchmarks/*.md"),
    *("*.md", "docs/**/*.md", "CITATION.cff"),
)
FILES = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
NAME = r"\b[A-Z][\w-]+"
# Kingma and Welling (2014; Ng 2011; Heusel et al. 2017; Cremer, Li and Duvenaud 2018
CITATION = re.compile(
    rf"({NAME})((?:, {NAME})*(?: and {NAME})?)( et al\.)?,? \(?((?:19[5-9]|20[0-3])\d)(?=[,;:).]|\Z| )"
)
MONTHS = {
    "January",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
}


def plain(text):
    letters = unicodedata.normalize("NFKD", text)
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())


def prose(path):
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return plain(text)


def papers():
    """Return of every entry its key, its arXiv number or None, its authors' family names, and its year."""
    found = []
    for entry in re.split(r"^@", (ROOT / "docs/references.bib").read_text(), flags=re.MULTILINE)[1:]:
        fields = dict(re.findall(r"^  (\w+) = \{(.+)\},$", entry, re.MULTILINE))
        families = [plain(name.split(",")[0]).split()[-1] for name in fields["author"].split(" and ")]
        found.append((re.search(r"\{(\w+),", entry)[1], fields.get("eprint"), families, fields["year"]))
    return found


TEXTS = {path: prose(path) for path in FILES}
PAPERS = papers()


def cited(text):
    """Yield the family names, whether there are more of them, and the year of every citation in plain text."""
    for first, others, more, year in CITATION.findall(text):
        families = [first, *re.findall(NAME, others.replace(" and ", ", "))]
        if not MONTHS & set(families):
            yield families, bool(more), year


def is_of(families, more, year, paper):
    _, _, authors, published = paper
    return year == published and (authors[0] == families[0] and len(authors) > 2 if more else authors == families)


def test_papers_are_listed_once():
    for column in (0, 1):
        values = [paper[column] for paper in PAPERS if paper[column]]
        assert len(set(values)) == len(values) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_paper_that_is_cited_is_listed(path):
    numbers = set(
        re.findall(r"\b\d{4}\.\d{4,5}\b", " ".join(re.findall(r"arXiv.{0,12}|arxiv.org/abs/.{11}", TEXTS[path])))
    )
    assert numbers <= {number for _, number, _, _ in PAPERS}
    for families, more, year in cited(TEXTS[path]):
        assert any(is_of(families, more, year, paper) for paper in PAPERS), (families, year)


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper[0])
def test_every_paper_that_is_listed_is_cited(paper):
    by_number = paper[1] and any(paper[1] in text for text in TEXTS.values())
    assert by_number or any(is_of(*citation, paper) for text in TEXTS.values() for citation in cited(text))
