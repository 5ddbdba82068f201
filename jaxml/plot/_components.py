"""Principal components: which are more than noise, where rows lie, what is kept."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxml import _check
from jaxml._check import Array
from jaxml.physics import random_matrix
from jaxml.plot import _canvas
from jaxml.plot._images import _caption, _grid, _images, _tile

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@_check.host
def scree(
    variances: Array,
    *,
    rows: int | None = None,
    noise: Array | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Variances in falling order, on a logarithmic axis, and the band of pure noise.

    With all n variances of `pca.fit(x, k=n)` and the noise that
    `random_matrix.significant_components(x)` estimates:

        plot.scree(params.variances, rows=len(x), noise=found.noise)

    What stands above the band of Marchenko and Pastur is filled, what lies in it not.

    Args:
        variances: (n,) of all directions, none below 0; those of 0 are left out.
        rows: m, how many rows there were; no band if None.
        noise: () σ² of the noise; no band if None.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: variances that are negative, or not finite or not (n,), a noise that
            is not positive.

    """
    s = np.sort(_canvas.finite("variances", variances, "n"))[::-1]
    if s[-1] < 0 or s[0] == 0:
        raise ValueError("variances must not be negative, nor all 0")
    ax = _canvas.axes(ax, (6, 4))
    place, seen = np.arange(1, len(s) + 1), s > 0
    above = np.ones(len(s), bool)
    if rows is not None and noise is not None:
        low, high = _band(len(s), rows, noise)
        above = s > high
        style: dict[str, Any] = {"color": _canvas.COLOURS[1]}
        ax.axhspan(max(low, s[seen].min() / 2), high, alpha=0.2, linewidth=0, **style)
        label = f"edge of noise, {high:.3g}"
        ax.axhline(high, linestyle="--", linewidth=1.5, label=label, **style)
        ax.set_title(f"{above.sum()} of {len(s)} above the band of noise", fontsize=11)
    colour = _canvas.COLOURS[0]
    for chosen, face in ((above & seen, colour), (~above & seen, "none")):
        spots: dict[str, Any] = {"s": 22, "facecolors": face, "edgecolors": colour}
        ax.scatter(place[chosen], s[chosen], zorder=2.5, **spots)
    ax.set_yscale("log")
    _canvas.tidy(ax, "component", "variance")
    ax.xaxis.set_major_locator(_canvas.matplotlib("ticker").MaxNLocator(integer=True))
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False)
    return ax


def _band(n: int, rows: int, noise: Any) -> tuple[float, float]:
    m = _check.count("rows", rows)
    level = float(_canvas.finite("noise", noise, ""))
    if level <= 0:
        raise ValueError(f"noise must be positive, not {level}")
    low, high = random_matrix.edges(gamma=n / m, variance=level)
    return float(low), float(high)


@_check.host
def projections(
    z: Array,
    y: Array | None = None,
    *,
    names: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Rows in the plane of the first two components, coloured by what is known of them.

    Args:
        z: (m, k) what `pca.transform` gives, k >= 2; the first two columns are drawn.
        y: (m,) labels, or numbers such as temperatures, which get a colour bar; one
            colour if None.
        names: of the labels, in their order; the labels themselves if None.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: shapes that disagree, values not finite, fewer than two columns, or
            names that are too few.

    """
    z = _canvas.finite("z", z, "m k")
    if z.shape[1] < 2:
        raise ValueError(f"z has {z.shape[1]} columns, not 2 or more")
    ax = _canvas.axes(ax, (5.4, 4.4))
    style = _canvas.spots(len(z))
    if y is None:
        ax.scatter(z[:, 0], z[:, 1], color=_canvas.COLOURS[0], **style)
    elif np.issubdtype(np.asarray(y).dtype, np.floating):
        y = _canvas.finite("y", y, "m")
        _canvas.shapes(z=(z, "m k"), y=(y, "m"))
        drawn = ax.scatter(z[:, 0], z[:, 1], c=y, cmap="viridis", **style)
        ax.figure.colorbar(drawn, ax=ax)
    else:
        _classes(ax, z, _canvas.labels("y", y), names, style)
    _canvas.tidy(ax, "first component z₁", "second component z₂")
    return ax


def _classes(ax: Any, z: np.ndarray, y: np.ndarray, names: Any, style: Any) -> None:
    _canvas.shapes(z=(z, "m k"), y=(y, "m"))
    k = int(y.max()) + 1
    names = range(k) if names is None else list(names)
    if len(names) < k:
        raise ValueError(f"names has length {len(names)}, not k = {k}")
    for label, colour in enumerate(_canvas.colours(k)):
        rows = y == label
        marker = _canvas.MARKERS[label % len(_canvas.MARKERS)]
        place = z[rows, 0], z[rows, 1]
        ax.scatter(*place, color=colour, marker=marker, label=names[label], **style)
    _canvas.beside(ax)


@_check.host
def reconstructions(
    x: Array,
    again: Array,
    *,
    shape: tuple[int, int],
    names: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Images in a row, and under each what few components keep of it.

        again = [pca.reconstruct(pca.fit(x, k=k).params, x[:8]) for k in (2, 10, 50)]
        plot.reconstructions(x[:8], again, shape=(28, 28), names=("k = 2", …))

    Args:
        x: (m, n) images, one per row; dark is high.
        again: (m, n) their reconstructions, or several of these, one under the other.
        shape: (height, width) of the images, height · width = n.
        names: of the reconstructions, which are then captions of the first column.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or names that
            are not as many as reconstructions.

    """
    x = _canvas.finite("x", x, "m n")
    stack = np.asarray(again)
    stack = stack[None] if stack.ndim == 2 else stack
    stack = _canvas.finite("again", stack, "r m n")
    _canvas.shapes(x=(x, "m n"), again=(stack, "r m n"))
    if names is not None and len(names) != len(stack):
        raise ValueError(f"names has length {len(names)}, not {len(stack)}")
    names = ["x", *([""] * len(stack) if names is None else names)]
    limits = x.min(), x.max()
    columns, gap = len(x), 0.3
    ax = _grid(ax, columns * (1 + len(stack)), columns, shape, gap=gap)
    for row, rows in enumerate([x, *stack]):
        for column, image in enumerate(_images("x", rows, shape)):
            place = row * columns + column
            drawn = _tile(ax, image, place, columns, gap, "gray_r", limits)
            if column == 0 and names[row]:
                _caption(ax, drawn.get_extent(), str(names[row]))
    return ax
