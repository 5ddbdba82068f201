"""Pictures of what the other rooms return, with matplotlib (the extra `jaxml[plot]`).

Every function draws into the Axes it is given as `ax`, or into those of a new Figure,
and returns the Axes. Nothing is shown and no state of pyplot is touched: after
`%matplotlib inline`, `ax.figure` in the last line of a notebook's cell displays it;
`ax.figure.savefig("a.png")` saves it.
Colours are those of Okabe and Ito (2008), which the colour-blind tell apart, and two
more; classes differ in their marker and curves in their dashes too.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxml import _check

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    "#0072B2",  # blue
    "#E69F00",  # orange
    "#009E73",  # green
    "#CC79A7",  # pink
    "#56B4E9",  # sky
    "#D55E00",  # vermilion
    "#F0E442",  # yellow
    "#000000",
    "#882255",  # wine
    "#999999",
)
MARKERS = "osD^vP*Xph"
LINES = ("-", "--", "-.", ":")


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
    ax = _axes(ax, (6, 4))
    for i, (name, (steps, values)) in enumerate(curves.items()):
        marker = "o" if len(steps) <= 30 else ""
        line, colour = LINES[i % len(LINES)], COLOURS[i % len(COLOURS)]
        ax.plot(steps, values, line, color=colour, marker=marker, ms=4, label=name)
    ax.set_xlabel("epoch" if named else "step")
    ax.xaxis.set_major_locator(_matplotlib("ticker").MaxNLocator(integer=True))
    if len(curves) == 1:
        ax.set_ylabel(next(iter(curves)))
    else:
        ax.legend(frameon=False)
    if log:
        ax.set_yscale("log")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


@_check.host
def confusion(matrix: Any, *, ax: "Axes | None" = None, names: Any = None) -> "Axes":
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
    matrix = _numbers("matrix", matrix, "k k")
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        raise ValueError("matrix must hold counts: finite and non-negative")
    k = len(matrix)
    names = [str(c) for c in (range(k) if names is None else names)]
    if len(names) != k:
        raise ValueError(f"names has length {len(names)}, not k = {k}")
    side = 1.5 + 0.45 * max(k, 5)
    ax = _axes(ax, (side + 0.3, side))
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
def first_layer(
    theta: Any, *, shape: tuple[int, int], ax: "Axes | None" = None
) -> "Axes":
    """What each unit of the first layer looks for: the rows of Θ^(1) as images.

    Blue weights are negative, red ones positive, white is 0, on one scale for all
    units. The biases, column 0, are left out.

    Args:
        theta: (s_2, 1 + n) Θ^(1).
        shape: (height, width) of the images, height · width = n.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: a shape that does not fit, or weights that are not finite.

    """
    theta = _numbers("theta", theta, "s_2 1+n")
    if not np.isfinite(theta).all():
        raise ValueError("theta holds non-finite values")
    images = _images("theta without its bias", theta[:, 1:], shape)
    largest = np.abs(images).max() or 1.0
    columns = math.ceil(math.sqrt(len(images)))
    ax = _grid(ax, len(images), columns, shape, gap=0.08, colourbar=True)
    for place, image in enumerate(images):
        drawn = _tile(ax, image, place, columns, 0.08, "RdBu_r", (-largest, largest))
    ax.figure.colorbar(drawn, ax=ax, shrink=0.8, label="weight", pad=0.02)
    ax.set_title(f"first layer: weights of {len(images)} units", fontsize=11)
    return ax


@_check.host
def misclassified(
    x: Any,
    y: Any,
    predicted: Any,
    *,
    shape: tuple[int, int],
    ax: "Axes | None" = None,
    most: int = 25,
) -> "Axes":
    """The first images of which the class was mistaken, each titled true→predicted.

    Args:
        x: (m, n) images, one per row; dark is high.
        y: (m,) labels.
        predicted: (m,) labels ŷ.
        shape: (height, width) of the images, height · width = n.
        ax: where to draw; a new Figure if None.
        most: how many images to show at most.

    Raises:
        ValueError: shapes that disagree, or labels that are not integers.

    """
    x, y = _numbers("x", x, "m n"), _labels("y", y)
    predicted = _labels("predicted", predicted)
    _shapes(x=(x, "m n"), y=(y, "m"), predicted=(predicted, "m"))
    most = _check.count("most", most)
    images = _images("x", x, shape)
    wrong = np.flatnonzero(y != predicted)
    shown = wrong[:most]
    columns = max(5, math.ceil(math.sqrt(len(shown))))
    ax = _grid(ax, len(shown), columns, shape, gap=0.35)
    limits = images.min(), images.max()
    for place, row in enumerate(shown):
        drawn = _tile(ax, images[row], place, columns, 0.35, "gray_r", limits)
        _caption(ax, drawn.get_extent(), f"{y[row]}→{predicted[row]}")
    title = f"{len(wrong)} of {len(x)} misclassified"
    if len(shown) < len(wrong):
        title += f", the first {len(shown)}"
    ax.set_title(title + "\ntrue→predicted" * bool(len(shown)), fontsize=11)
    return ax


@_check.host
def decision_regions(
    predict: Callable[[np.ndarray], Any],
    x: Any,
    y: Any,
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
    x, y = _numbers("x", x, "m 2"), _labels("y", y)
    _shapes(x=(x, "m 2"), y=(y, "m"))
    resolution = _check.count("resolution", resolution, at_least=2)
    if not np.isfinite(x).all():
        raise ValueError("x holds non-finite values")
    low, high = x.min(axis=0), x.max(axis=0)
    margin = np.where(high > low, 0.08 * (high - low), 0.5)
    low, high = low - margin, high + margin
    ticks = [np.linspace(a, b, resolution) for a, b in zip(low, high)]
    grid = np.stack(np.meshgrid(*ticks), axis=-1).reshape(-1, 2).astype(np.float32)
    region = _labels("predict(grid)", predict(grid))
    _shapes(**{"predict(grid)": (region, str(len(grid)))})
    k = 1 + max(region.max(), y.max())
    colours = _colours(k)
    pale = 1 - 0.35 * (1 - colours)
    ax = _axes(ax, (6, 4.5))
    extent = (low[0], high[0], low[1], high[1])
    image = pale[region.reshape(resolution, resolution)]
    ax.imshow(
        image, extent=extent, origin="lower", aspect="auto", interpolation="nearest"
    )
    for c in np.unique(y):
        ax.scatter(
            x[y == c, 0],
            x[y == c, 1],
            s=32,
            color=colours[c],
            marker=MARKERS[c % len(MARKERS)],
            label=str(c),
            edgecolors="black",
            linewidths=0.4,
        )
    ax.set_xlabel("feature 0")
    ax.set_ylabel("feature 1")
    ax.set_title("shades: predicted, points: true classes", fontsize=11)
    ax.legend(
        title="class", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False
    )
    return ax


# --- what they share ---------------------------------------------------------------


def _matplotlib(module: str) -> Any:
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ModuleNotFoundError as error:
        raise ImportError(
            "jaxml.plot needs matplotlib: pip install 'jaxml[plot]'"
        ) from error


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    """The Axes given, or those of a new Figure, which pyplot does not know."""
    if ax is None:
        return _matplotlib("figure").Figure(size, layout="constrained").subplots()
    if not isinstance(ax, _matplotlib("axes").Axes):
        raise ValueError(f"ax must be matplotlib Axes, not {type(ax).__name__}")
    return ax


def _shapes(**arrays: Any) -> None:
    _check.shapes(**arrays)


def _numbers(name: str, value: Any, shape: str) -> np.ndarray:
    array = np.asarray(_check.array(name, value, False), np.float64)
    _shapes(**{name: (array, shape)})
    return array


def _labels(name: str, value: Any) -> np.ndarray:
    array = np.asarray(_check.array(name, value, True), np.int64)
    _shapes(**{name: (array, "m")})
    if array.min() < 0:
        raise ValueError(f"{name} holds the label {array.min()}; labels count from 0")
    return array


def _curve(name: str, value: Any, log: bool) -> tuple[np.ndarray, np.ndarray]:
    """Steps, from 1, and the values that were recorded."""
    values = _numbers(name, value, "steps")
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        raise ValueError(f"{name} holds no finite value")
    if log and values[known].min() <= 0:
        raise ValueError(f"{name} must be positive where log=True")
    return known + 1, values[known]


def _images(name: str, rows: np.ndarray, shape: Any) -> np.ndarray:
    try:
        height, width = shape
    except (TypeError, ValueError):
        raise ValueError(f"shape must be (height, width), not {shape!r}") from None
    height, width = _check.count("shape", height), _check.count("shape", width)
    if height * width != rows.shape[1]:
        n = rows.shape[1]
        raise ValueError(f"shape is {height} x {width}, but {name} has {n} columns")
    return rows.reshape(-1, height, width)


def _count(number: float) -> str:
    return f"{number:.0f}" if number == round(number) else f"{number:.3g}"


def _cell(ax: Any, k: int) -> float:
    """The side of one of k x k cells in points."""
    box = ax.get_window_extent()
    return 72 * min(box.width, box.height) / ax.figure.dpi / k


def _grid(ax, number, columns, shape, *, gap, colourbar=False):
    """Axes without frame for tiles of width 1, laid out in rows from the top."""
    rows = max(1, math.ceil(number / columns))
    height = rows * (shape[0] / shape[1] + gap)
    unit = min(1.0, 9 / columns)  # inches to a tile
    ax = _axes(
        ax, (unit * columns * (1 + gap) + 0.2 + 0.9 * colourbar, unit * height + 0.5)
    )
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(0, columns * (1 + gap) - gap)
    ax.set_ylim(height, 0)
    return ax


def _tile(ax, image, place, columns, gap, colours, limits):
    row, column = divmod(place, columns)
    height = image.shape[0] / image.shape[1]
    left, top = column * (1 + gap), row * (height + gap) + gap
    box = ax.get_xlim(), ax.get_ylim()
    extent = (left, left + 1, top + height, top)
    drawn = ax.imshow(
        image, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent
    )
    ax.set(xlim=box[0], ylim=box[1])  # imshow moves them to its own image
    return drawn


def _caption(ax, extent, text):
    """Text above a tile, in the tile's own units, so that it fits at any size."""
    left, right, _, top = extent
    path = _matplotlib("textpath").TextPath((0, 0), text, size=0.22)
    box = path.get_extents()
    place = _matplotlib("transforms").Affine2D().scale(1, -1)  # y points downwards
    place = place.translate((left + right - box.width) / 2 - box.x0, top - 0.06)
    outline = place.transform_path(path)
    patch = _matplotlib("patches").PathPatch(outline, color="black", lw=0, label=text)
    ax.add_patch(patch)


def _colours(k: int) -> np.ndarray:
    """(k, 3) colours between 0 and 1."""
    colours = _matplotlib("colors")
    if k <= len(COLOURS):
        return np.array([colours.to_rgb(c) for c in COLOURS[:k]])
    return _matplotlib("cm").ScalarMappable(cmap="turbo").to_rgba(np.arange(k))[:, :3]
