"""Diagrams of models and computations: nodes and arrows between them, placed by hand and drawn by matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch

from . import checks

INK, SHADE = "#333333", "#e3e6ea"
COLORS = {
    "latent": "white",  # a random variable that nobody observes
    "observed": SHADE,  # one that is given
    "noise": "#fff3dc",  # a random variable without parameters
    "network": "#dcebf9",  # a function with parameters
    "value": "white",  # what is computed from the nodes that lead to it
    "loss": "#fbe3d5",  # a term of the objective
}
ROUND = ("latent", "observed", "noise")


@dataclass(frozen=True)
class Node:
    """A node of a diagram.

    Attributes
    ----------
    x, y : float
        Its middle.
    patch : matplotlib.patches.Patch
        Its outline, at which arrows end.
    """

    x: float
    y: float
    patch: Patch


class Diagram:
    r"""A diagram on the axes of a figure; units are those of ``width`` and ``height``, equal in both directions.

    Parameters
    ----------
    ax : Axes
        Is left without axis lines; its figure should be as wide to its height as the diagram.
    width, height : float
        From the lower left corner (0, 0) to the upper right one.

    Examples
    --------
    >>> fig, ax = plt.subplots(figsize=(2.5, 1))
    >>> diagram = Diagram(ax, 5, 2)
    >>> z, x = diagram.node("z", 1, 1), diagram.node("x", 4, 1, kind="observed")
    >>> arrow = diagram.arrow(z, x, r"$p_\theta(x \mid z)$")
    """

    def __init__(self, ax: Axes, width: float, height: float) -> None:
        width, height = checks.positive_number("width", width), checks.positive_number("height", height)
        ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        ax.set_axis_off()
        self.ax = ax

    def node(
        self, text: str, x: float, y: float, *, kind: str = "latent", width: float = 1.0, height: float = 0.7
    ) -> Node:
        """Draw a node: a random variable as a circle, what is computed as a box.

        Parameters
        ----------
        text : str
            What stands in it, mathematics between dollars.
        x, y : float
            Its middle.
        kind : str
            latent, observed, noise (circles), network, value or loss (boxes); by its colour they are told apart.
        width, height : float
            Of a box; a circle is as wide as a box of the default height.

        Raises
        ------
        ValueError
            If there is no such kind, or a size is not positive.
        """
        kind = checks.one_of("kind", kind, tuple(COLORS))
        width, height = checks.positive_number("width", width), checks.positive_number("height", height)
        style: dict[str, Any] = {"facecolor": COLORS[kind], "edgecolor": INK, "linewidth": 1.0, "zorder": 2}
        patch: Patch
        if kind in ROUND:
            patch = Circle((x, y), 0.35, **style)
        else:
            corner = (x - width / 2, y - height / 2)
            rounding = 0 if kind == "value" else 0.12
            patch = FancyBboxPatch(corner, width, height, boxstyle=f"round,pad=0,rounding_size={rounding}", **style)
        self.ax.add_patch(patch)
        self.ax.text(x, y, text, ha="center", va="center", zorder=3)
        return Node(x, y, patch)

    def arrow(
        self,
        start: Node,
        end: Node,
        text: str = "",
        *,
        bend: float = 0.0,
        dashed: bool = False,
        color: str = INK,
        offset: tuple[float, float] = (0.0, 0.22),
    ) -> FancyArrowPatch:
        """Draw an arrow from the outline of one node to that of another.

        Parameters
        ----------
        start, end : Node
            As ``node`` returned them.
        text : str
            Stands at the middle of the straight line between them, moved by ``offset``.
        bend : float
            How far the arrow leaves that line, in parts of its length, to the right if positive.
        dashed : bool
            As what approximates, or runs backwards, is drawn.
        color : str
            Of arrow and text.
        offset : (float, float)
            In units of the diagram.
        """
        arrow = FancyArrowPatch(
            (start.x, start.y),
            (end.x, end.y),
            patchA=start.patch,
            patchB=end.patch,
            shrinkA=1.5,
            shrinkB=1.5,
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=11,
            linewidth=1.2,
            linestyle="--" if dashed else "-",
            color=color,
            zorder=1,
        )
        self.ax.add_patch(arrow)
        x, y = (start.x + end.x) / 2 + offset[0], (start.y + end.y) / 2 + offset[1]
        self.ax.text(x, y, text, ha="center", va="center", color=color, fontsize="small", zorder=3)
        return arrow

    def frame(self, left: float, bottom: float, right: float, top: float, text: str = "") -> FancyBboxPatch:
        """Draw a frame around what belongs together or is repeated (a plate), its text in the lower right corner."""
        patch = FancyBboxPatch(
            (left, bottom),
            right - left,
            top - bottom,
            boxstyle="round,pad=0,rounding_size=0.15",
            facecolor="none",
            edgecolor="#999999",
            linewidth=1.0,
            zorder=0,
        )
        self.ax.add_patch(patch)
        self.ax.text(right - 0.12, bottom + 0.12, text, ha="right", va="bottom", fontsize="small", color="#666666")
        return patch
