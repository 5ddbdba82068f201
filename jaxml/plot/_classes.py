"""Classes: which are taken for which, where they lie, and the margin between."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxml import _check
from jaxml._check import Array
from jaxml.plot import _canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@_check.host
def confusion(
    matrix: Array, *, ax: "Axes | None" = None, names: Sequence[str] | None = None
) -> "Axes":
    """The matrix of metrics.confusion, its counts in the cells; true classes are rows.

    The shade is a cell's share of its row, on a square-root scale, so that rare
    confusions are seen beside the diagonal.

    Args:
        matrix: (k, k) counts.
        ax: where to draw; a new Figure if None.
        names: k names of the classes; their numbers if None.

    Raises:
        ValueError: a matrix that is not square, finite and non-negative, or names that
            are not k.

    """
    matrix = _canvas.numbers("matrix", matrix, "k k")
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        raise ValueError("matrix must hold counts: finite and non-negative")
    k = len(matrix)
    names = [str(c) for c in (range(k) if names is None else names)]
    if len(names) != k:
        raise ValueError(f"names has length {len(names)}, not k = {k}")
    side = 1.5 + 0.45 * max(k, 5)
    ax = _canvas.axes(ax, (side + 0.3, side))
    total = matrix.sum(axis=1, keepdims=True)
    shade = np.sqrt(
        np.divide(matrix, total, out=np.zeros_like(matrix), where=total > 0)
    )
    ax.imshow(shade, cmap="Blues", vmin=0, vmax=1)
    texts = [[_count(number) for number in row] for row in matrix]
    # A digit is about 0.64 of the font's size wide.
    digits = max(2, *(len(text) for row in texts for text in row))
    size = min(10, 0.9 * _cell(ax, k) / (0.64 * digits))
    for (row, column), number in np.ndenumerate(matrix):
        colour = "white" if shade[row, column] > 0.6 else "black" if number else "0.7"
        style: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "color": colour,
            "fontsize": size,
        }
        ax.text(column, row, texts[row][column], **style)
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    long = max(len(name) for name in names) > 3
    ax.set_xticks(range(k), names, **(slant if long else {}))
    ax.set_yticks(range(k), names)
    ax.tick_params(length=0)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    right = np.trace(matrix) / matrix.sum() if matrix.any() else np.nan
    ax.set_title(f"{right:.1%} of {matrix.sum():.6g} right", fontsize=11)
    return ax


@_check.host
def decision_regions(
    predict: Callable[[np.ndarray], Any],
    x: Array,
    y: Array,
    *,
    ax: "Axes | None" = None,
    resolution: int = 200,
) -> "Axes":
    """Which class is predicted where, for two features, and the examples on top.

    Args:
        predict: (points, 2) float32 -> (points,) labels; called once, for the grid.
        x: (m, 2) examples.
        y: (m,) their labels.
        ax: where to draw; a new Figure if None.
        resolution: points of the grid along each axis.

    Raises:
        ValueError: shapes that disagree, or labels that are not integers from 0.

    """
    x, y = _examples(x, y)
    grid = _grid(x, resolution)
    region = _canvas.labels("predict(grid)", predict(grid.points))
    _canvas.shapes(**{"predict(grid)": (region, str(len(grid.points)))})
    k = 1 + max(region.max(), y.max())
    pale = _pale(_canvas.colours(k))
    ax = _canvas.axes(ax, (6, 4.5))
    image = pale[region.reshape(grid.resolution, grid.resolution)]
    ax.imshow(
        image,
        extent=grid.extent,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    _scatter(ax, x, y, [str(c) for c in range(k)])
    ax.set_title("shades: predicted, points: true classes", fontsize=11)
    _canvas.beside(ax, "class")
    return ax


@_check.host
def margin(
    scores: Callable[[np.ndarray], Any],
    x: Array,
    y: Array,
    *,
    support: Array | None = None,
    ax: "Axes | None" = None,
    resolution: int = 200,
) -> "Axes":
    """Two classes, the line f = 0 between them and, in grey, the margin |f| < 1.

    For a plane and for a kernel machine:

        plot.margin(lambda grid: svm.scores(params, grid), x, y,
                    support=svm.support(params))
        plot.margin(lambda grid: svm.kernel.scores(params, grid), x, y,
                    support=svm.kernel.support_mask(params))

    Args:
        scores: f, (points, 2) float32 -> (points,), above 0 for class 1; called once,
            for the grid.
        x: (m, 2) examples.
        y: (m,) labels 0 and 1.
        support: (m,) bool, the support vectors, which are ringed; None for no rings.
        ax: where to draw; a new Figure if None.
        resolution: points of the grid along each axis.

    Raises:
        ValueError: shapes that disagree, scores that are not finite, or labels other
            than 0 and 1.

    """
    x, y = _examples(x, y)
    if y.max() > 1:
        raise ValueError(f"y holds the label {y.max()}, not one of 0, 1")
    ringed = None
    if support is not None:
        ringed = _canvas.labels("support", support) != 0
        _canvas.shapes(y=(y, "m"), support=(ringed, "m"))
    grid = _grid(x, resolution)
    f = _canvas.finite("scores(grid)", scores(grid.points), str(len(grid.points)))
    f = f.reshape(grid.resolution, grid.resolution)
    ax = _canvas.axes(ax, (6.4, 4.5))
    _levels(ax, grid, f)
    _scatter(ax, x, y, ["class 0", "class 1"])
    ax.set_title("the line f(x) = 0 and its margin", fontsize=11)
    if ringed is not None:
        rings: dict[str, Any] = {"s": 110, "facecolors": "none", "linewidths": 1.2}
        ax.scatter(*x[ringed].T, edgecolors="black", zorder=4, **rings)
        ink = _canvas.ink(ax)
        ax.scatter([], [], edgecolors=ink, label="support vector", **rings)
        ax.set_title(f"{ringed.sum()} support vectors of {len(x)} rows", fontsize=11)
    _canvas.beside(ax)
    return ax


# --- the plane ---------------------------------------------------------------------


class _Grid(NamedTuple):
    """Points that cover the examples."""

    points: np.ndarray  # (resolution², 2) float32, row by row from below
    extent: tuple[float, float, float, float]  # left, right, bottom, top
    resolution: int


def _grid(x: np.ndarray, resolution: int) -> _Grid:
    resolution = _check.count("resolution", resolution, at_least=2)
    low, high = x.min(axis=0), x.max(axis=0)
    around = np.where(high > low, 0.08 * (high - low), 0.5)
    low, high = low - around, high + around
    ticks = [np.linspace(a, b, resolution) for a, b in zip(low, high)]
    points = np.stack(np.meshgrid(*ticks), axis=-1).reshape(-1, 2).astype(np.float32)
    return _Grid(points, (low[0], high[0], low[1], high[1]), resolution)


def _examples(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = _canvas.finite("x", x, "m 2"), _canvas.labels("y", y)
    _canvas.shapes(x=(x, "m 2"), y=(y, "m"))
    return x, y


def _pale(colours: np.ndarray) -> np.ndarray:
    return 1 - 0.35 * (1 - colours)


def _scatter(ax: Any, x: np.ndarray, y: np.ndarray, names: list[str]) -> None:
    colours = _canvas.colours(len(names))
    for c in np.unique(y):
        ax.scatter(
            x[y == c, 0],
            x[y == c, 1],
            s=32,
            color=colours[c],
            marker=_canvas.MARKERS[c % len(_canvas.MARKERS)],
            label=names[c],
            edgecolors="black",
            linewidths=0.4,
            zorder=3,
        )
    ax.set_xlabel("feature 0")
    ax.set_ylabel("feature 1")


def _levels(ax: Any, grid: _Grid, f: np.ndarray) -> None:
    """Both sides in the colours of their classes, the margin, and f = -1, 0 and 1."""
    sides = _pale(_canvas.colours(2))
    low, high = min(f.min(), -1) - 1, max(f.max(), 1) + 1
    shades = [sides[0], (0.93, 0.93, 0.93), sides[1]]
    left, right, bottom, top = grid.extent
    ticks = [
        np.linspace(*ends, grid.resolution) for ends in ((left, right), (bottom, top))
    ]
    ax.contourf(*ticks, f, levels=[low, -1, 1, high], colors=shades)
    for level, line in ((1, "-."), (0, "-"), (-1, "--")):
        if f.min() < level < f.max():
            ax.contour(*ticks, f, levels=[level], colors="black", linestyles=line)
            name = f"f = {level}".replace("-", "−")
            ax.plot([], [], line, color=_canvas.ink(ax), label=name)


def _count(number: float) -> str:
    return f"{number:.0f}" if number == round(number) else f"{number:.3g}"


def _cell(ax: Any, k: int) -> float:
    """The side of one of k x k cells in points."""
    box = ax.get_window_extent()
    return 72 * min(box.width, box.height) / ax.figure.dpi / k
