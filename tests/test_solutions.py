"""The plugin that runs the solutions of a chapter."""

import subprocess
import sys
from pathlib import Path

import nbformat
from solutions import solutions

ROOT = Path(__file__).parent.parent
KERNEL = {"display_name": "Python 3", "name": "python3", "language": "python"}
SOLUTION = "**{}.** A question.\n\n<details><summary>Solution</summary>\n\nWords.\n\n```python\n{}\n```\n\n</details>"


def notebook(*texts):
    cells = [nbformat.v4.new_code_cell("value = 1"), *map(nbformat.v4.new_markdown_cell, texts)]
    cells.append(nbformat.v4.new_code_cell("value = 2"))
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def test_solutions_are_what_stands_between_details():
    text = "```python\nshown\n```\n\n" + SOLUTION.format(1, "a = 1\nb = 2") + "\n\n" + SOLUTION.format(2, "c = 3")
    assert list(solutions(notebook(text, "```python\nno\n```"))) == ["a = 1\nb = 2\n", "c = 3\n"]


def test_a_solution_runs_after_the_last_cell_and_can_fail(tmp_path):
    path = tmp_path / "chapter.ipynb"
    nbformat.write(notebook(SOLUTION.format(1, "assert value == 2"), SOLUTION.format(2, "assert value == 1")), path)
    options = ["-q", "-p", "tests.solutions", "-p", "no:cacheprovider", "--nbval"]
    command = [sys.executable, "-m", "pytest", *options, path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "1 failed, 3 passed" in done.stdout
    assert "chapter.ipynb::Solution 2" in done.stdout
