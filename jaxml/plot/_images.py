"""Images: what a network looks for in them, and which it mistakes."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxml import _check
from jaxml._check import Array
from jaxml.plot import _canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@_check.host
def first_layer(
    theta: Array, *, shape: tuple[int, int], ax: "Axes | None" = None
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
    theta = _canvas.finite("theta", theta, "s_2 n+1")
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
    x: Array,
    y: Array,
    predicted: Array,
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
    x, y = _canvas.numbers("x", x, "m n"), _canvas.labels("y", y)
    predicted = _canvas.labels("predicted", predicted)
    _canvas.shapes(x=(x, "m n"), y=(y, "m"), predicted=(predicted, "m"))
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


def _grid(ax, number, columns, shape, *, gap, colourbar=False):
    """Axes without frame for tiles of width 1, laid out in rows from the top."""
    rows = max(1, math.ceil(number / columns))
    height = rows * (shape[0] / shape[1] + gap)
    unit = min(1.0, 9 / columns)  # inches to a tile
    ax = _canvas.axes(
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
    path = _canvas.matplotlib("textpath").TextPath((0, 0), text, size=0.22)
    box = path.get_extents()
    place = (
        _canvas.matplotlib("transforms").Affine2D().scale(1, -1)
    )  # y points downwards
    place = place.translate((left + right - box.width) / 2 - box.x0, top - 0.06)
    outline = place.transform_path(path)
    patch = _canvas.matplotlib("patches").PathPatch(
        outline, color="black", lw=0, label=text
    )
    ax.add_patch(patch)
