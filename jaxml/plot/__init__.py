"""Pictures of other modules' results, with matplotlib (the extra `jaxml[plot]`).

Every function draws into the Axes it is given as `ax`, or into those of a new Figure,
and returns the Axes. Nothing is shown and no state of pyplot is touched: after
`%matplotlib inline`, `ax.figure` in the last line of a notebook's cell displays it;
`ax.figure.savefig("a.png")` saves it.
Colours are those of Okabe and Ito (2008), which the colour-blind tell apart, and two
more; classes differ in their marker and curves in their dashes too.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxml import _check
from jaxml.plot import _canvas
from jaxml.plot._canvas import COLOURS, LINES, MARKERS
from jaxml.plot._classes import confusion, decision_regions, margin
from jaxml.plot._clusters import bifurcations, clusters
from jaxml.plot._components import projections, reconstructions, scree
from jaxml.plot._curves import band, coefficient_path, qq, residuals
from jaxml.plot._factors import factor_neighbours
from jaxml.plot._images import first_layer, misclassified
from jaxml.plot._scores import learning_curve, reliability, validation_curve
from jaxml.plot._spins import component, lattices

__all__ = [
    "COLOURS",
    "LINES",
    "MARKERS",
    "band",
    "bifurcations",
    "clusters",
    "coefficient_path",
    "component",
    "confusion",
    "decision_regions",
    "factor_neighbours",
    "first_layer",
    "history",
    "lattices",
    "learning_curve",
    "margin",
    "misclassified",
    "projections",
    "qq",
    "reconstructions",
    "reliability",
    "residuals",
    "scree",
    "validation_curve",
]

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@_check.host
def history(history: Any, *, ax: "Axes | None" = None, log: bool = False) -> "Axes":
    """A cost along its fit, or several measures by epoch; NaN is left out.

    Args:
        history: (steps,) as in Fit.history; or a dict from names to (epochs,).
        ax: where to draw; a new Figure if None.
        log: for a logarithmic axis, on which only positive values have a place.

    Raises:
        ValueError: no curve, one that is not (steps,), holds no finite number, or one
            that is not positive where log is asked for.

    """
    named = isinstance(history, Mapping)
    if not named:
        curves = {"cost": _curve("history", history, log)}
    elif history:
        curves = {str(n): _curve(f"history[{n!r}]", c, log) for n, c in history.items()}
    else:
        raise ValueError("history is an empty dict")
    ax = _canvas.axes(ax, (6, 4))
    for i, (name, (steps, values)) in enumerate(curves.items()):
        marker = "o" if len(steps) <= 30 else ""
        line, colour = (
            _canvas.LINES[i % len(_canvas.LINES)],
            _canvas.COLOURS[i % len(_canvas.COLOURS)],
        )
        ax.plot(steps, values, line, color=colour, marker=marker, ms=4, label=name)
    name = "" if len(curves) > 1 else next(iter(curves))
    _canvas.tidy(ax, "epoch" if named else "step", name)
    ax.xaxis.set_major_locator(_canvas.matplotlib("ticker").MaxNLocator(integer=True))
    if len(curves) > 1:
        ax.legend(frameon=False)
    if log:
        ax.set_yscale("log")
    return ax


def _curve(name: str, value: Any, log: bool) -> tuple[np.ndarray, np.ndarray]:
    """Steps, from 1, and the values that were recorded."""
    values = _canvas.numbers(name, value, "steps")
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        raise ValueError(f"{name} holds no finite value")
    if log and values[known].min() <= 0:
        raise ValueError(f"{name} must be positive where log=True")
    return known + 1, values[known]
