"""Diagrams: arrows run between outlines, and what is asked for is drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from gluon_vae import diagrams


@pytest.fixture
def diagram():
    fig, ax = plt.subplots(figsize=(4, 2))
    yield diagrams.Diagram(ax, 8, 4)
    plt.close(fig)


@pytest.mark.parametrize("bend", [0.0, 0.4])
@pytest.mark.parametrize("kind", diagrams.COLORS)
def test_an_arrow_ends_at_the_outlines_of_its_nodes(kind, bend, diagram):
    start, end = diagram.node("a", 1, 1, kind=kind, width=1.4), diagram.node("b", 6, 3, kind=kind, width=1.4)
    arrow = diagram.arrow(start, end, "text", bend=bend)
    diagram.ax.figure.canvas.draw()
    to_data = diagram.ax.transData.inverted()
    shaft, _ = arrow._get_path_in_displaycoord()
    vertices = to_data.transform(shaft[0].vertices)
    for node, tip in ((start, vertices[0]), (end, vertices[-1])):
        outline = node.patch.get_path().transformed(node.patch.get_patch_transform())
        assert not outline.contains_point(tip)
        assert np.hypot(tip[0] - node.x, tip[1] - node.y) < 1.1
        assert outline.contains_point((node.x, node.y))


def test_a_circle_is_round_and_a_kind_has_its_color(diagram):
    node = diagram.node("z", 2, 2, kind="noise")
    diagram.ax.figure.canvas.draw()
    box = node.patch.get_window_extent()
    assert box.width == pytest.approx(box.height)
    assert plt.matplotlib.colors.to_hex(node.patch.get_facecolor()) == diagrams.COLORS["noise"]
    assert [text.get_text() for text in diagram.ax.texts] == ["z"]


def test_a_frame_holds_what_it_is_drawn_around(diagram):
    node = diagram.node("z", 2, 2)
    frame = diagram.frame(1, 1, 3, 3, "N")
    assert frame.get_path().contains_points(node.patch.get_verts() * 0 + (2, 2)).all()
    assert frame.get_zorder() < node.patch.get_zorder()


@pytest.mark.parametrize(
    ("options", "name"),
    [({"kind": "box"}, "kind"), ({"width": 0}, "width"), ({"height": np.nan}, "height")],
)
def test_a_node_that_cannot_be_drawn_is_refused(options, name, diagram):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        diagram.node("a", 1, 1, **options)
    assert not diagram.ax.patches


def test_a_diagram_without_a_size_is_refused():
    with pytest.raises(ValueError, match=r"^height must be"):
        diagrams.Diagram(None, 1, -1)
