"""A pytest plugin: the code in a chapter's solutions runs too, after its last cell and in the same kernel.

With ``-p tests.solutions`` every block of Python between ``<details>`` and ``</details>`` is a cell more for nbval,
whose output is compared with nothing: a solution says with ``assert`` what it finds.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Generator, Iterator

import nbformat
import pytest

DETAILS = re.compile(r"<details>(.*?)</details>", re.DOTALL)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def solutions(notebook: nbformat.NotebookNode) -> Iterator[str]:
    """Yield the code of every solution, in the order of the chapter."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for details in DETAILS.findall(cell.source):
                yield from BLOCK.findall(details)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Add the solutions to the cells of a notebook."""
    report = yield
    if type(collector).__name__ == "IPyNbFile" and report.passed:
        kind, n_cells = type(report.result[0]), len(report.result)
        for number, code in enumerate(solutions(collector.nb), 1):
            report.result.append(
                kind.from_parent(
                    collector,
                    name=f"Solution {number}",
                    cell_num=n_cells - 1 + number,
                    cell=nbformat.v4.new_code_cell(code),
                    options=defaultdict(bool, check=False),
                )
            )
    return report
