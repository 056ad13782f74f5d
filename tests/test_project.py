"""The project's own files: versions that agree, notebooks that are what they claim to be."""

import ast
import importlib
import inspect
import json
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import gluon_vae

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PYTHONS = [line.split(" :: ")[-1] for line in PROJECT["classifiers"] if " Python :: 3." in line]
DEBIAN_12 = "3.11.2"


def holds(requirement, python):
    environment = {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python}
    return requirement.marker is None or requirement.marker.evaluate(environment)


def locked(python):
    """Return the pinned version of each package for a release of Python such as 3.11.0."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines())
    pins = [Requirement(line) for line in lines if line]
    assert all([s.operator for s in pin.specifier] == ["=="] for pin in pins)
    pins = [pin for pin in pins if holds(pin, python)]
    versions = {canonicalize_name(pin.name): Version(next(iter(pin.specifier)).version) for pin in pins}
    assert len(versions) == len(pins)
    return versions


def declared(*extras):
    """Return the requirements of the project and of extras, but not those of one extra for another."""
    optional = PROJECT["optional-dependencies"]
    lines = sum((optional[extra] for extra in extras), PROJECT["dependencies"])
    return [Requirement(line) for line in lines if PROJECT["name"] not in line]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("requirement", declared(*PROJECT["optional-dependencies"]), ids=lambda r: r.name)
def test_lock_pins_every_requirement_inside_its_range(requirement, python):
    if holds(requirement, f"{python}.0"):
        assert locked(f"{python}.0")[canonicalize_name(requirement.name)] in requirement.specifier


def test_lock_pins_the_same_packages_for_every_python():
    assert len({frozenset(locked(f"{python}.0")) for python in PYTHONS}) == 1


def test_locked_packages_accept_the_oldest_release_of_each_python_that_they_are_locked_for():
    for python in (DEBIAN_12, *(f"{python}.0" for python in PYTHONS if not DEBIAN_12.startswith(python))):
        versions = locked(python)
        for installed in metadata.distributions():
            if versions.get(canonicalize_name(installed.name)) == Version(installed.version):
                accepted = SpecifierSet(installed.metadata.get("Requires-Python", ""))
                assert python in accepted, (installed.name, python)


def test_every_file_names_the_same_pythons():
    accepted = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(99) if f"3.{minor}.0" in accepted] == PYTHONS
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^SUPPORTED := (.+)$", makefile, re.MULTILINE)[1].split() == PYTHONS[::-1]
    assert re.search(r"uv python install (\S+)", makefile)[1] in PYTHONS
    workflow = (ROOT / ".github/workflows/test.yml").read_text()
    assert json.loads(re.search(r"python: (\[.+\])", workflow)[1]) == PYTHONS
    environment = (ROOT / "environment.yml").read_text()
    assert re.search(r"- python=(\S+)", environment)[1] in PYTHONS
    assert "- -c requirements.lock" in environment
    assert "- -e .[dev]" in environment
    assert PYPROJECT["tool"]["mypy"]["python_version"] in PYTHONS


def test_this_environment_is_the_locked_one():
    versions = locked(platform.python_version())
    for requirement in declared("dev"):
        name = canonicalize_name(requirement.name)
        assert Version(metadata.version(name)) == versions[name]


def test_version_and_licence_are_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text()
    cited = dict(re.findall(r"^([a-z-]+): (\S.*)$", citation, re.MULTILINE))
    releases = re.findall(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert cited["version"] == releases[0] == PROJECT["version"]
    title, holder = re.match(r"(.+)\n\nCopyright \(c\) \d+ (.+)\n", (ROOT / "LICENSE").read_text()).groups()
    assert title == f"{cited['license']} License"
    assert f"License :: OSI Approved :: {title}" in PROJECT["classifiers"]
    assert re.findall(r"^authors:\n((?: .+\n)+)", citation, re.MULTILINE) == [f"  - name: {holder}\n"]


def test_changelog_begins_with_what_is_not_released():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert len(set(headings)) == len(headings) > 1


def test_the_hooks_before_a_commit_run_what_make_lint_runs():
    makefile = (ROOT / "Makefile").read_text()
    folder = re.search(r"^BIN := (.+)$", makefile, re.MULTILINE)[1]
    recipe = re.search(r"^lint: .+\n((?:\t.+\n)+)", makefile, re.MULTILINE)[1]
    commands = [line.strip().replace("$(BIN)", folder) for line in recipe.splitlines()]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"^ +entry: (.+)$", hooks, re.MULTILINE) == commands
    assert re.findall(r"repo: (.+)", hooks) == ["local"]
    assert re.findall(r"(?:language|pass_filenames): (.+)", hooks) == ["system", "false"] * len(commands)


def test_wheel_has_every_file_of_the_package(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(ROOT / "gluon_vae", tmp_path / "gluon_vae", ignore=ignored)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    code = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert "gluon_vae/py.typed" in files
    assert files <= set(zipfile.ZipFile(wheel).namelist())


RUNS = "exit 0"
DOES_NOT_RUN = "exit 127"
IS_TOO_OLD = "echo gluon-vae needs Python 3 >&2; exit 1"
HAS_NO_WHEEL = "echo MXNet 1.9.1 has no wheel >&2; exit 1"
LACKS_ENSUREPIP = 'case "$2" in *ensurepip*) exit 1; esac'
UV = 'test "$2" = install || echo /by/uv/python3.12'
NO_NETWORK = "exit 1"


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(
    ("programs", "named", "expected"),
    [
        ({"python3.11": RUNS, "python3.13": RUNS}, "", "python3.13"),
        ({"python3.11": RUNS, "python3.12": LACKS_ENSUREPIP, "python3.13": DOES_NOT_RUN}, "", "python3.11"),
        ({"python3": RUNS, "uv": UV}, "", "python3"),
        ({"python3": IS_TOO_OLD, "uv": UV}, "", "/by/uv/python3.12"),
        ({"python3": LACKS_ENSUREPIP, "uv": UV}, "", "/by/uv/python3.12"),
        ({"python3.11": RUNS, "python3.13": RUNS}, "python3.11", "python3.11"),
        ({}, "", "none is on the PATH:"),
        ({"python3": IS_TOO_OLD, "uv": NO_NETWORK}, "", "none is on the PATH, nor did uv fetch one:"),
        ({"python3.12": LACKS_ENSUREPIP}, "", "(python3.12 lacks the package python3.12-venv)"),
        ({"python3.12": RUNS, "python3.9": IS_TOO_OLD, "uv": UV}, "python3.9", "python3.9 is not one:"),
        ({"python3.12": RUNS, "uv": UV}, "python4", "python4 is not one:"),
        ({"python3.12": HAS_NO_WHEEL, "uv": UV}, "", "MXNet 1.9.1 has no wheel"),
    ],
)
def test_make_takes_the_newest_python_that_it_can_use_or_says_how_to_get_one(programs, named, expected, tmp_path):
    for name, code in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "find.mk").write_text('find: ; @$(SHELL) -c "$$FIND_PYTHON"\n')
    command = [shutil.which("make"), "-s", "-f", ROOT / "Makefile", "-f", "find.mk", "find", f"PYTHON={named}"]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    if " " not in expected:
        assert (done.returncode, done.stdout) == (0, f"{expected}\n")
    else:
        sentence = done.stderr.splitlines()[0]
        assert (done.returncode, done.stdout) == (2, "")
        assert expected in sentence
        assert ("install python3.12 and python3.12-venv, or uv" in sentence) == ("wheel" not in sentence)


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
        is_tuple = hasattr(public, "_fields")
        made_by = public.__new__ if is_tuple else public.__init__
        signature = inspect.signature(made_by if inspect.isclass(public) else public)
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
    assert any({"image/png", "image/svg+xml"} & set(output.get("data", {})) for output in outputs)
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
    for part in ("**Question.**", "**You need.**", "**You will see.**", "**In the package.**"):
        assert part in prose[0]
    for heading in ("## Summary", "## Limits", "## Exercises"):
        assert any(text.startswith(heading) for text in prose), heading


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_in_the_style_of_the_course_keeps_vectors_and_a_small_file(path):
    cells = code_cells(path)
    has_style = any("use_course_style()" in "".join(cell["source"]) for cell in cells)
    kinds = {kind for cell in cells for output in cell["outputs"] for kind in output.get("data", {})}
    assert kinds & {"image/png", "image/svg+xml"} == {"image/svg+xml" if has_style else "image/png"}
    assert path.stat().st_size < (2e6 if has_style else 4e6)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_figure_of_a_chapter_says_in_words_what_it_shows(path):
    texts = []
    for cell in code_cells(path):
        has_figure = any({"image/png", "image/svg+xml"} & set(output.get("data", {})) for output in cell["outputs"])
        text = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt")
        assert has_figure == (text is not None), cell["id"]
        texts += [text] if has_figure else []
    assert all(len(text) > 30 and text.endswith(".") for text in texts)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("path", [*NOTEBOOKS, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda p: p.stem)
def test_links_lead_somewhere(path):
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", text):
        target = target[0] or target[1]
        if not target.startswith(("http", "$")):
            assert (path.parent / target).exists(), target


def links_to_code(path):
    """Return the name and the module of every link in the last paragraph of a chapter's first cell."""
    opening = "".join(json.loads(path.read_text())["cells"][0]["source"])
    paragraph = opening.split("\n\n")[-1]
    assert paragraph.startswith("**In the package.** ")
    links = re.findall(r"\[`([\w.]+)`\]\(\.\./gluon_vae/(\w+)\.py\)", paragraph)
    assert 0 < len(links) == len(set(links)) == paragraph.count("](")
    return [(name.removeprefix(f"{module}."), module) for name, module in links]


def docstrings():
    """Yield the name, the module and the text of every docstring in the package."""
    for path in sorted((ROOT / "gluon_vae").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield getattr(node, "name", ""), path.stem, ast.get_docstring(node) or ""


def test_chapters_name_the_code_whose_docstrings_name_them():
    chapters = {}
    for path in NOTEBOOKS:
        for item in links_to_code(path):
            chapters.setdefault(item, []).append(str(int(path.stem[:2])))
    expected, found = {}, {}
    for item, (*others, last) in chapters.items():
        expected[item] = f"See chapters {', '.join(others)} and {last}." if others else f"See chapter {last}."
    for name, module, text in docstrings():
        if "chapter" in text.lower():
            summary = re.split(r"\n\n\w+\n-+\n", text)[0]
            found[name, module] = re.sub(r"(?s).*\b(See chapters? [\d, and]+\.)$", r"\1", summary)
            assert len(re.findall("chapter", text, re.IGNORECASE)) == 1, (name, module)
    assert found == expected


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_to_code_lead_to_the_module_that_defines_it(path):
    opening = "".join(json.loads(path.read_text())["cells"][0]["source"])
    for name, module in links_to_code(path):
        assert (ROOT / "gluon_vae" / f"{module}.py").is_file()
        item = getattr(importlib.import_module(f"gluon_vae.{module}"), name)
        assert item.__module__ == f"gluon_vae.{module}"
        assert f"[`{name if name in gluon_vae.__all__ else f'{module}.{name}'}`](" in opening


def test_readme_lists_the_modules_that_every_chapter_names():
    row = re.compile(r"^\| (\d+) \| \[[^|]+\]\(notebooks/(\w+)\.ipynb\) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
    listed = {}
    for number, stem, code in row.findall((ROOT / "README.md").read_text()):
        modules = re.findall(r"\[`(\w+)`\]", code)
        assert code == ", ".join(f"[`{module}`](gluon_vae/{module}.py)" for module in modules)
        assert int(number) == int(stem[:2])
        listed[stem] = sorted(modules)
    assert listed == {path.stem: sorted({module for _, module in links_to_code(path)}) for path in NOTEBOOKS}
