"""A pytest plugin: nbval compares the numbers in a notebook's text outputs as numbers.

nbval compares outputs as strings, so that the last digit of a sum, which depends on the processor, fails a
cell. With ``-p tests.compare_numbers`` words, layout and the count of lines and numbers still have to be the same.
A number with decimals may differ by one unit in its last digit, a whole number not at all: that is right for
closed forms and for what follows from seeds alone. What rests on training, or on long sums of float32, differs
more between processors; such a cell says by how much, in tags that JupyterLab shows:

- ``within-2%``: every number within 2 % of the one in the file
- ``within-0.3``: every number within 0.3 of it; points where a percentage is printed

With both, a number has to keep to one of them. Numbers that are parts of words (2-D, x1, 0x7f) are words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest

import pytest

NUMBER = re.compile(r"(?<![\w.])(?<!\w-)[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:e[-+]?\d+)?(?!\w|[-–]\w|\.\d)")
TAG = re.compile(r"within-(\d+(?:\.\d+)?)(%?)")


class Tolerance:
    """How far the numbers of a cell may be from those in the file, as its tags say.

    Parameters
    ----------
    tags : iterable of str
        The tags of a cell, those that are not about tolerances too.

    Raises
    ------
    ValueError
        If a tag begins with ``within`` and is not of the forms above, allows half of a number or more, or is the
        second one of its form.
    """

    def __init__(self, tags: Iterable[str] = ()) -> None:
        allowed: dict[str, float] = {}
        for tag in tags:
            if tag.startswith("within"):
                match = TAG.fullmatch(tag)
                if not match or match[2] in allowed or (match[2] and float(match[1]) >= 50):
                    raise ValueError(
                        f"a tag is like within-2% (less than 50 %) or within-0.3, one of each, not {tag!r}"
                    )
                allowed[match[2]] = float(match[1])
        self.relative, self.absolute = allowed.get("%", 0.0) / 100, allowed.get("", 0.0)

    def holds(self, expected: str, found: str) -> bool:
        """Tell whether two numbers, as printed, are the same but for what is allowed."""
        a, b = _value(expected), _value(found)
        if not (math.isfinite(a) and math.isfinite(b)):
            return a == b
        allowed = max(min(_unit(expected), _unit(found)), self.absolute, self.relative * abs(a))
        return abs(a - b) <= allowed * (1 + 1e-9)


class Text(str):
    """An output, equal to another one if words and layout are the same and the numbers close enough."""

    tolerance = Tolerance()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and next(differences(self, other, self.tolerance), None) is None

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def differences(expected: str, found: str, tolerance: Tolerance) -> Iterator[str]:
    """Say in a line each where an output is not the one expected: words and layout first, then numbers."""
    layouts = [_layout(text).split("\n") for text in (expected, found)]
    if layouts[0] != layouts[1]:
        for number, (a, b) in enumerate(zip_longest(*layouts, fillvalue="(no line)"), 1):
            if a != b:
                yield f"line {number}: expected {a!r}, found {b!r}"
        return
    for a, b in zip(numbers(expected), numbers(found)):
        if not tolerance.holds(a, b):
            yield f"expected {a}, found {b}"


def numbers(text: str) -> list[str]:
    """Return the numbers in a text, as printed."""
    return NUMBER.findall(text)


def _layout(text: str) -> str:
    """Return a text with # for its numbers; the blanks around one fill up its width and are no layout."""
    return re.sub(r" *\x00 *", "#", NUMBER.sub("\x00", text))


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def _unit(number: str) -> float:
    """Return the value of one unit in the last decimal, 0 for a whole number."""
    mantissa, _, exponent = number.partition("e")
    decimals = mantissa.partition(".")[2]
    if not decimals and not exponent:
        return 0.0
    return 10.0 ** (int(exponent or 0) - len(decimals))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the cells of notebooks compare their outputs as numbers."""
    for item in items:
        if type(item).__name__ == "IPyNbCell":
            _compare_numbers(item)
            item.parent.skip_compare += ("image/svg+xml",)  # a picture, like those that nbval passes over


def _compare_numbers(cell: pytest.Item) -> None:
    class Output(Text):
        tolerance = Tolerance(cell.cell.metadata.get("tags", ()))

    sanitize, report = cell.sanitize, cell.format_output_compare

    def format_output_compare(key: str, expected: object, found: object) -> None:
        report(key, expected, found)
        if isinstance(expected, Text):
            cell.comparison_traceback += differences(expected, str(found), expected.tolerance)

    cell.sanitize = lambda output: Output(sanitize(output)) if isinstance(output, str) else output
    cell.format_output_compare = format_output_compare
