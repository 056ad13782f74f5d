"""The record of what a chapter's assertions compare."""

import json

import margins
import nbformat
import pytest

CELLS = [
    "import numpy as np\nSEED = 3\nx = np.array([2.0, SEED + 1.0])",
    "assert (x > 1).all()\nassert 1 < x[1] < 10, 'a message'",
    "assert np.allclose(x, [2.0, x[1] + 0.25], rtol=0, atol=0.5)",
    "assert x[0] == 99\nprint('still here', x[1])",
    "undefined",
]


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setattr(margins, "RECORDS", tmp_path / "records")
    chapter = tmp_path / "99_chapter.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    cells[3].outputs = [nbformat.v4.new_output("stream", name="stdout", text="still here 4.0\n")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), chapter)
    margins.run(chapter, "kernels", seed=2)
    return chapter, json.loads((tmp_path / "records" / "99_chapter.kernels.2.json").read_text())


def test_a_chapter_is_run_with_another_seed_and_its_comparisons_are_recorded(record, capsys):
    chapter, found = record
    compared = [(e["cell"], e["symbol"], e["left"], e["right"], e["holds"]) for e in found["asserts"] if "left" in e]
    assert compared == [
        (1, ">", 2, 1, True),  # the tighter of two elements
        (1, "<", 1, 6, True),
        (1, "<", 6, 10, True),
        (2, "<=", 0.25, 0.5, True),
        (3, "==", 2, 99, False),
    ]
    assert found["texts"][3] == ["still here 6.0\n"]  # a failed assertion stops nothing
    assert [(cell, name) for cell, name, _ in found["errors"]] == [(4, "NameError")]

    margins.report(chapter)
    printed = capsys.readouterr().out
    for line in ("(<=): 0.25 0.5", "FAILS in kernels 2", "expected 4.0, found 6.0", "NameError"):
        assert line in printed
