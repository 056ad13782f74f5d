"""Colours and markers by which classes can be told apart, in any number."""

from __future__ import annotations

from . import checks

# Ten colours that stay distinct under the common colour-vision deficiencies: P. Tol's "muted" scheme,
# whose tenth colour, a pale grey, is replaced by a dark one. Digits often confused (4 and 9, 3, 5 and
# 8) get distant colours.
DIGIT_COLORS = (
    "#332288",
    "#cc6677",
    "#ddcc77",
    "#117733",
    "#88ccee",
    "#882255",
    "#999933",
    "#444444",
    "#44aa99",
    "#aa4499",
)
# Ten more, each the farthest from all before it, among those neither near white nor near black. Far means far for all
# of four: ordinary vision, and eyes without the long, the middle or the short cones (distances in OKLab, of what
# Machado et al. 2009 have such an eye see). None is as near to another as two of the first ten are.
CLASS_COLORS = (
    *DIGIT_COLORS,
    "#870ff0",
    "#e169ff",
    "#d21e00",
    "#870fb4",
    "#b4b44b",
    "#7869d2",
    "#5a0f5a",
    "#b4d2b4",
    "#96a5d2",
    "#8787d2",
)
MARKERS = "osDvP^X<*>"


def class_colors(n: int) -> list[str]:
    """Return the colours of classes 0 to n - 1: those of the digits, ten others, and then the same again.

    Parameters
    ----------
    n : int
        How many classes there are.

    Returns
    -------
    list of str
        As '#rrggbb'. Classes of one colour differ in their marker, see ``class_markers``.
    """
    return [CLASS_COLORS[i % len(CLASS_COLORS)] for i in range(checks.positive_int("n", n))]


def class_markers(n: int) -> list[str]:
    """Return matplotlib's markers of classes 0 to n - 1: one for the first twenty, the next for the next twenty."""
    return [MARKERS[i // len(CLASS_COLORS) % len(MARKERS)] for i in range(checks.positive_int("n", n))]
