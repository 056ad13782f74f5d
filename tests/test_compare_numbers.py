"""The comparison of notebooks: what it lets pass, and that it catches everything else."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from compare_numbers import Tolerance, differences, numbers
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
KERNEL = {"display_name": "Python 3", "name": "python3", "language": "python"}
PRINTED = "ELBO of 20 dimensions: -157.24 ± 1.8 nats, 63 % of 1,000 digits in 2-D\nKL 6.8e-03"


def same(expected, found, *tags):
    return not list(differences(expected, found, Tolerance(tags)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-157.2 ± 1.8", ["-157.2", "1.8"]),
        ("[0.1, -2., 3]", ["0.1", "-2.", "3"]),
        ("1,000 digits and 12,345.5", ["1,000", "12,345.5"]),
        ("1,0 and 1,00", ["1", "0", "1", "00"]),
        ("63 %, 7%", ["63", "7"]),
        ("2-D, x1, a 784-400-2, 0x7f, v1.9.1, conv2d, 5–10", ["10"]),
        ("−3.5e-07 of 1e5", ["−3.5e-07", "1e5"]),
        ("(100, 784)", ["100", "784"]),
        ("nan inf", []),
    ],
)
def test_numbers_are_found_and_parts_of_words_are_not(text, expected):
    assert numbers(text) == expected


def test_a_text_equals_itself():
    assert same(PRINTED, PRINTED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("nats", "bits"),  # a word
        ("\nKL 6.8e-03", ""),  # a line less
        ("KL", "\nKL"),  # a line more
        ("-157.24", "157.24"),  # a sign
        ("-157.24", "-78.62"),  # a factor of two
        ("-157.24", "-158.82"),  # a percent
        ("-157.24", "-157.26"),  # two units in the last digit
        ("-157.24", "nan"),
        ("-157.24", "inf"),
        ("1.8", ""),  # a number less
        ("1.8", "1.8 1.8"),  # a number more
        ("20", "21"),  # a whole number
        ("63", "64"),
        ("1,000", "1,001"),
        ("2-D", "3-D"),
        ("6.8e-03", "6.8e-02"),
        ("6.8e-03", "7.0e-03"),
    ],
)
def test_a_difference_is_caught(before, after):
    assert before in PRINTED
    found = PRINTED.replace(before, after)
    assert not same(PRINTED, found)
    assert not same(found, PRINTED)


@pytest.mark.parametrize(
    ("before", "after"),
    [("-157.24", "-157.25"), ("-157.24", " -157.23"), ("6.8e-03", "6.7e-03"), ("1.8", "  1.9"), ("1.8", "1.80")],
)
def test_one_unit_in_the_last_digit_and_the_width_of_a_column_pass(before, after):
    assert same(PRINTED, PRINTED.replace(before, after))


@pytest.mark.parametrize(
    ("tags", "found", "passes"),
    [
        (["within-2%"], "100 and -10.2", True),
        (["within-2%"], "100 and -10.3", False),
        (["within-2%"], "102 and -10.0", True),
        (["within-2%"], "103 and -10.0", False),
        (["within-2%"], "98 and 10.0", False),
        (["within-0.5"], "100 and -9.5", True),
        (["within-0.5"], "100 and -9.4", False),
        (["within-0.5"], "101 and -10.0", False),
        (["within-2%", "within-0.5"], "102 and -9.5", True),
        (["nbval-skip"], "100 and -10.2", False),
        (["within-2%"], "nan and -10.0", False),
        (["within-2%"], "100 nor -10.0", False),
        (["within-40%"], "200 and -10.0", False),
        (["within-40%"], "100 and 10.0", False),
    ],
)
def test_a_tag_says_how_far_numbers_may_be(tags, found, passes):
    assert same("100 and -10.0", found, *tags) is passes


@pytest.mark.parametrize(
    "tag", ["within-2 %", "within-", "within", "within-x%", "within--1", "within-50%", "within-200%"]
)
def test_a_tag_that_cannot_be_meant_is_refused(tag):
    with pytest.raises(ValueError, match=re.escape(repr(tag))):
        Tolerance([tag])


@pytest.mark.parametrize("tags", [("within-3", "within-12"), ("within-2%", "within-0.3", "within-4%")])
def test_two_tags_of_one_form_are_refused(tags):
    with pytest.raises(ValueError, match=re.escape(repr(tags[-1]))):
        Tolerance(tags)


@given(st.floats(0.01, 1e6), st.booleans(), st.floats(0.01, 0.4))
def test_a_relative_tolerance_is_what_it_says(value, negative, tolerance):
    expected = float(f"{-value if negative else value:.9f}")
    tag = f"within-{100 * tolerance:.3f}%"
    assert same(f"{expected:.9f}", f"{expected * (1 + 0.99 * tolerance):.9f}", tag)
    assert not same(f"{expected:.9f}", f"{expected * (1 + 1.01 * tolerance):.9f}", tag)


def notebook(folder, outputs, tags=()):
    """Write a chapter of one cell, with an output in the file that may differ from what it prints."""
    cell = nbformat.v4.new_code_cell("print('loss', 10.25)\n10.25", metadata={"tags": list(tags)}, execution_count=1)
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text=f"loss {outputs[0]}\n"),
        nbformat.v4.new_output("execute_result", data={"text/plain": outputs[1]}, execution_count=1),
    ]
    path = folder / f"chapter_{len(list(folder.iterdir()))}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": KERNEL}), path)
    return path


def test_nbval_compares_that_way(tmp_path):
    """The plugin does its work inside nbval: printed and shown results, the default and a tag, pass and fail."""
    passing = [
        notebook(tmp_path, ("10.25", "10.25")),
        notebook(tmp_path, ("10.24", "10.26")),
        notebook(tmp_path, ("10.4", "10.1"), ["within-2%"]),
    ]
    failing = [
        notebook(tmp_path, ("10.23", "10.25")),
        notebook(tmp_path, ("10.25", "10.3")),
        notebook(tmp_path, ("10.5", "10.25"), ["within-2%"]),
        notebook(tmp_path, ("10.25", "10.5"), ["within-2%"]),
    ]
    options = ["-q", "-p", "tests.compare_numbers", "-p", "no:cacheprovider", "--nbval"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *passing, *failing],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 failed, 3 passed" in done.stdout
    for path in failing:
        assert f"{path.name}::Cell 0" in done.stdout
    assert "expected 10.23, found 10.25" in done.stdout
