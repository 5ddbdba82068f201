"""Pictures of what the other rooms return, with matplotlib (the extra `jaxml[plot]`).

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
from jaxml.plot._canvas import COLOURS as COLOURS
from jaxml.plot._canvas import LINES as LINES
from jaxml.plot._canvas import MARKERS as MARKERS
from jaxml.plot.classes import confusion as confusion
from jaxml.plot.classes import decision_regions as decision_regions
from jaxml.plot.classes import margin as margin
from jaxml.plot.clusters import bifurcations as bifurcations
from jaxml.plot.clusters import clusters as clusters
from jaxml.plot.components import projections as projections
from jaxml.plot.components import reconstructions as reconstructions
from jaxml.plot.components import scree as scree
from jaxml.plot.factors import factor_neighbours as factor_neighbours
from jaxml.plot.images import first_layer as first_layer
from jaxml.plot.images import misclassified as misclassified
from jaxml.plot.regression import coefficient_path as coefficient_path
from jaxml.plot.regression import curve as curve
from jaxml.plot.regression import quantiles as quantiles
from jaxml.plot.regression import residuals as residuals
from jaxml.plot.scores import learning_curve as learning_curve
from jaxml.plot.scores import reliability as reliability
from jaxml.plot.scores import validation_curve as validation_curve
from jaxml.plot.spins import component as component
from jaxml.plot.spins import lattices as lattices

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
