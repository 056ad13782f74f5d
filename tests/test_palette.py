"""Colours of classes: how far apart they are, for those who see all of them and for those who do not."""

import matplotlib as mpl
import numpy as np
import pytest
from conftest import refused
from matplotlib.colors import to_hex, to_rgb

from gluon_vae.palette import CLASS_COLORS, DIGIT_COLORS, MARKERS, class_colors, class_markers

# What an eye sees, as linear RGB: all cones, or without the long, the middle, the short ones (Machado et al. 2009).
EYES = {
    "all": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# Linear RGB to cones, and their cube roots to OKLab (Ottosson 2020).
TO_CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def lab(color, eye="all"):
    """Return a colour as an eye sees it: lightness, 0 to 1, and two coordinates of hue."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return TO_LAB @ np.cbrt(TO_CONES @ np.clip(EYES[eye] @ linear, 0, 1))


def distances(colors):
    """Return how far apart colours are, every pair for the eye that tells it least; 1 for a colour and itself."""
    seen = np.array([[lab(color, eye) for color in colors] for eye in EYES])
    return np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1).min(axis=0) + np.eye(len(colors))


def test_lab_is_what_its_author_says():
    np.testing.assert_allclose(lab("#ffffff"), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(lab("#ff0000"), [0.627955, 0.224863, 0.125846], atol=1e-5)
    red, olive = ([lab(color, eye) for eye in ("all", "deuteranopia")] for color in ("#b00000", "#606000"))
    assert np.linalg.norm(red[0] - olive[0]) > 10 * np.linalg.norm(red[1] - olive[1])


def test_colours_are_distinct_to_every_eye():
    ten, twenty = distances(DIGIT_COLORS), distances(CLASS_COLORS)
    assert ten.min() > 0.045
    assert twenty[10:].min() > 0.07
    tab20 = distances([to_hex(color) for color in mpl.colormaps["tab20"].colors])
    hues = distances([to_hex(mpl.colormaps["hsv"](i / 20)) for i in range(20)])
    assert twenty.min() > 5 * max(tab20.min(), hues.min())


def test_colours_are_neither_near_white_nor_near_black():
    lightness = [lab(color)[0] for color in CLASS_COLORS]
    assert 0.3 < min(lightness) < max(lightness) < 0.86


@pytest.mark.parametrize("n", [1, 3, 10, 26, 47, 100, 200])
def test_classes_of_one_colour_have_different_markers(n):
    colors, markers = class_colors(n), class_markers(n)
    assert len(colors) == len(markers) == len(set(zip(colors, markers))) == n
    assert colors[:10] == list(DIGIT_COLORS)[:n]
    assert set(markers[:20]) == {"o"}
    assert len(CLASS_COLORS) * len(MARKERS) == 200


def test_no_classes_have_no_colours():
    for function in (class_colors, class_markers):
        with refused("n", "positive integer", "0"):
            function(0)
