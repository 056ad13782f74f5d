"""The project's own files: versions that agree, notebooks that are what they claim to be."""

import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gluon_vae

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked():
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines())
    pins = [Requirement(line) for line in lines if line]
    assert all([s.operator for s in pin.specifier] == ["=="] for pin in pins)
    return {canonicalize_name(pin.name): Version(next(iter(pin.specifier)).version) for pin in pins}


def declared():
    return [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]


@pytest.mark.parametrize("requirement", list(map(Requirement, declared())), ids=lambda r: r.name)
def test_lock_pins_every_requirement_inside_its_range(requirement):
    assert locked()[canonicalize_name(requirement.name)] in requirement.specifier


def test_environment_uses_the_lock_and_the_supported_python():
    text = (ROOT / "environment.yml").read_text()
    python = re.search(r"- python=(\S+)", text)[1]
    assert "- -c requirements.lock" in text
    assert "- -e .[dev]" in text
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python + ".0")


def test_this_environment_is_the_locked_one():
    from importlib.metadata import version

    for name in ("mxnet", "numpy", "scipy", "scikit-learn", "matplotlib", "mlxtend"):
        assert Version(version(name)) == locked()[name]


def test_import_leaves_the_process_as_it_was():
    code = (
        "import numpy, matplotlib;"
        "numpy.random.seed(0); before = numpy.random.get_state()[1].tolist(), dict(matplotlib.rcParams);"
        "import gluon_vae;"
        "assert before == (numpy.random.get_state()[1].tolist(), dict(matplotlib.rcParams))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_documented():
    for name in gluon_vae.__all__:
        public = getattr(gluon_vae, name)
        doc = inspect.getdoc(public)
        assert doc, name
        signature = inspect.signature(public.__init__ if inspect.isclass(public) else public)
        for parameter in list(signature.parameters.values())[1:]:
            if parameter.kind is not parameter.VAR_KEYWORD:
                assert parameter.annotation is not parameter.empty, (name, parameter.name)


def code_cells(path):
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_was_executed_top_to_bottom(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if "Warning" in "".join(output.get("text", []))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_keeps_the_pace_and_opens_and_closes_alike(path):
    lengths = sorted(len([s for s in cell["source"] if s.strip()]) for cell in code_cells(path))
    assert lengths[-1] <= 25
    assert lengths[len(lengths) // 2] <= 6
    cells = json.loads(path.read_text())["cells"]
    prose = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert re.match(rf"# {int(path.stem[:2])} · ", prose[0])
    for part in ("**Question.**", "**You need.**", "**You will see.**"):
        assert part in prose[0]
    for heading in ("## Summary", "## Limits", "## Exercises"):
        assert any(text.startswith(heading) for text in prose), heading


@pytest.mark.parametrize("path", [*NOTEBOOKS, ROOT / "README.md"], ids=lambda p: p.stem)
def test_links_lead_somewhere(path):
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", text):
        target = target[0] or target[1]
        if not target.startswith(("http", "$")):
            assert (path.parent / target).exists(), target
