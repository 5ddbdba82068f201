"""Factors: which items lie near each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxml import _check
from jaxml._check import Array
from jaxml.plot import _canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@_check.host
def factor_neighbours(
    x: Array,
    item: int,
    *,
    names: Sequence[str] | None = None,
    count: int = 8,
    factors: tuple[int, int] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """All items in a plane of their factors; one of them and its nearest are named.

    The nearest are those of least |xᵢ - xⱼ| over all factors, as `recommend.similar`
    with metric="euclidean" finds them; in the plane others may seem nearer.

    Args:
        x: (items, k) vectors of the items, k at least 2.
        item: the one whose neighbours are named.
        names: what the items are called; their numbers if None.
        count: how many neighbours, below the number of items.
        factors: two columns of x for the axes. If None, the two principal axes of x: a
            rotation of all factors, which changes no prediction, changes the columns.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: vectors that are not finite (items, k), an item, a count, names or
            factors that do not belong to them.

    """
    x = _canvas.finite("x", x, "items k")
    items, k = x.shape
    if k < 2:
        raise ValueError("x has one factor: a plane needs two")
    item = _below("item", item, items)
    if _check.count("count", count) >= items:
        raise ValueError(f"count must be below the number of items, {items}")
    labels = [str(n) for n in (range(items) if names is None else names)]
    if len(labels) != items:
        raise ValueError(f"names has length {len(labels)}, not items = {items}")
    plane, axes = _plane(x, factors)
    ax = _canvas.axes(ax, (7, 5.5))
    ax.scatter(plane[:, 0], plane[:, 1], color="0.6", **_canvas.spots(items))
    apart = np.linalg.norm(x - x[item], axis=1)
    apart[item] = np.inf
    nearest = np.argsort(apart, kind="stable")[:count]
    styles = ((nearest, _canvas.COLOURS[0], "o"), ([item], _canvas.COLOURS[5], "D"))
    for shown, colour, marker in styles:
        points = plane[shown]
        style: dict[str, Any] = {"marker": marker, "s": 40, "zorder": 3}
        ax.scatter(points[:, 0], points[:, 1], color=colour, **style)
    _named(ax, plane, [item, *nearest], labels)
    ax.margins(0.12)
    _canvas.tidy(ax, *axes)
    return ax


def _below(name: str, value: Any, size: int) -> int:
    number = _check.count(name, value, at_least=0)
    if number >= size:
        raise ValueError(f"{name} must be below {size}, not {number}")
    return number


def _plane(x, factors) -> tuple[np.ndarray, tuple[str, str]]:
    """(items, 2) coordinates, and what the axes are called."""
    if factors is not None:
        one, two = (_below("factors", f, x.shape[1]) for f in factors)
        return x[:, [one, two]], (f"factor {one}", f"factor {two}")
    centred = x - x.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    # The sign of an axis is arbitrary: its largest entry is made positive.
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    along = centred @ (axes * np.where(signs == 0, 1, signs)[:, None]).T
    return along, ("first principal axis", "second principal axis")


def _named(ax, plane, shown, labels) -> None:
    """Names in a column at the right, joined to their points: none hides another."""
    order = sorted(shown, key=lambda i: -plane[i, 1])
    for place, i in enumerate(order):
        height = 1 - (place + 0.5) / len(order)
        ax.annotate(
            labels[i],
            plane[i],
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            fontweight="bold" if i == shown[0] else "normal",
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": "0.5",
                "linewidth": 0.6,
            },
        )
