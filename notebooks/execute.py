"""Execute notebooks in place, so that a re-run changes nothing but what really changed.

    python notebooks/execute.py notebooks/01_vae.ipynb ...

Timing, kernel details and progress bars are left out of the files. What a cell keeps are its tags and ``mystnb``, in
which ``{"image": {"alt": "..."}}`` says what its figure shows, for those who cannot see it.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

# As a terminal would show it, a finished bar is a line that its carriage returns overwrote with blanks.
OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n])|[ \r]+$")

KEPT = ("tags", "mystnb")


def execute(path: Path) -> None:
    """Run one notebook from top to bottom and write it back once all of it has succeeded."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    NotebookClient(
        notebook,
        timeout=600,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in KEPT}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_cleared_bar(output)]
    nbformat.write(notebook, path)


def _is_cleared_bar(output: nbformat.NotebookNode) -> bool:
    return output.output_type == "stream" and not OVERWRITTEN.sub("", output.text).strip()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        execute(Path(name))
