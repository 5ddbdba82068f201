"""Clusters: rows with the ellipses of their Gaussians, and the tree of an annealing."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxml import _check
from jaxml._check import Array
from jaxml.plot import _canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@_check.host
def clusters(
    x: Array,
    labels: Array,
    *,
    centres: Array | None = None,
    covariances: Array | None = None,
    deviations: float = 2.0,
    ax: "Axes | None" = None,
) -> "Axes":
    """Rows in the plane, coloured by cluster, with centres and ellipses.

        plot.clusters(x, mixture.predict(p, x), centres=p.means,
                      covariances=p.covariances)

    Args:
        x: (m, 2) rows.
        labels: (m,) the cluster of each, 0…k-1.
        centres: (k, 2) drawn as crosses.
        covariances: (k, 2, 2), tied (2, 2), diagonal (k, 2) or spherical (k,), as
            `mixture` has them; for centres. (A tied one is (2, 2), and so is a diagonal
            one of two clusters: that is taken as diagonal unless it is symmetric with
            entries off its diagonal.)
        deviations: how many standard deviations an ellipse is wide, on each side.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: shapes that disagree, values that are not finite.

    """
    x, labels = _canvas.finite("x", x, "m 2"), _canvas.labels("labels", labels)
    _canvas.shapes(x=(x, "m 2"), labels=(labels, "m"))
    k = labels.max() + 1
    if centres is not None:
        centres = _canvas.finite("centres", centres, "k 2")
        k = max(k, len(centres))
    elif covariances is not None:
        raise ValueError("centres must be given where covariances are")
    ax = _canvas.axes(ax, (6.4, 4.8))
    colours, style = _canvas.colours(k), _canvas.spots(len(x))
    for i in range(k):
        own = x[labels == i]
        marker = _canvas.MARKERS[i % len(_canvas.MARKERS)]
        look = {"color": colours[i], "marker": marker, **style}
        ax.scatter(own[:, 0], own[:, 1], label=str(i), **look)
    if centres is not None and covariances is not None:
        for centre, sigma, colour in zip(
            centres, _matrices(covariances, len(centres)), colours, strict=False
        ):
            ax.add_patch(_ellipse(centre, sigma, colour, float(deviations)))
    if centres is not None:
        cross: dict[str, Any] = {"color": _canvas.ink(ax), "marker": "x", "zorder": 3}
        ax.scatter(centres[:, 0], centres[:, 1], **cross)
    _canvas.tidy(ax, "x₁", "x₂")
    ax.set_aspect("equal", adjustable="box")
    if k <= len(_canvas.COLOURS):
        _canvas.beside(ax, "cluster")
    return ax


def _matrices(value: Any, k: int) -> np.ndarray:
    """The covariances of k clusters, (k, 2, 2), from any of their forms."""
    sigma = _canvas.finite("covariances", value, "k 2 2|k 2|k")
    shared = sigma.shape == (2, 2) and (k != 2 or _is_matrix(sigma))
    if sigma.ndim == 1:
        sigma = sigma[:, None, None] * np.eye(2)
    elif shared:
        sigma = np.broadcast_to(sigma, (k, 2, 2))
    elif sigma.ndim == 2:
        sigma = sigma[:, :, None] * np.eye(2)
    if len(sigma) != k:
        raise ValueError(f"covariances are {len(sigma)}, and centres {k}")
    return sigma


def _is_matrix(sigma: np.ndarray) -> bool:
    return sigma[0, 1] == sigma[1, 0] and sigma[0, 1] ** 2 < sigma[0, 0] * sigma[1, 1]


def _ellipse(centre: np.ndarray, sigma: np.ndarray, colour: Any, deviations: float):
    values, vectors = np.linalg.eigh(sigma)
    if values[0] < 0:
        raise ValueError("covariances must not be negative")
    width, height = 2 * deviations * np.sqrt(values)
    angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
    style: dict[str, Any] = {"fill": False, "edgecolor": colour, "linewidth": 1.8}
    return _canvas.matplotlib("patches").Ellipse(
        centre, width, height, angle=angle, **style
    )


@_check.host
def bifurcations(path: Any, *, column: int = 0, ax: "Axes | None" = None) -> "Axes":
    """Where the centres of an annealing lie as it cools, and where they had to split.

    A branch is as wide as its share of the rows; dotted lines are the temperatures
    2 λ_max at which clusters become unstable.

    Args:
        path: what `annealing.path` returns.
        column: which of the n coordinates is drawn.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: no path, no such column, or temperatures that are not positive.

    """
    if not hasattr(path, "critical") or not hasattr(path, "parent"):
        raise ValueError(f"path must be of annealing.path, not {type(path).__name__}")
    t = _canvas.finite("path.temperatures", path.temperatures, "s")
    if t.min() <= 0:
        raise ValueError("path.temperatures must be positive")
    centres = _canvas.finite("path.params.centres", path.params.centres, "s k n")
    n = centres.shape[2]
    if not 0 <= column < n:
        raise ValueError(f"column must be in 0 … n - 1 = {n - 1}, not {column}")
    y, shares = centres[:, :, column], np.asarray(path.params.shares, float)
    ax = _canvas.axes(ax, (6.4, 4.4))
    for i, colour in enumerate(_canvas.colours(y.shape[1])):
        used = np.flatnonzero(shares[:, i] > 0)
        if not len(used):
            continue
        _branch(ax, t, y, shares, i, used, int(np.asarray(path.parent)[i]), colour)
    splits = np.asarray(path.split, float)
    for number, place in enumerate(splits[splits > 0]):
        name = "2 λ_max" if number == 0 else None
        ax.axvline(place, color="0.4", linestyle=":", linewidth=1.2, label=name)
    _canvas.tidy(ax, "temperature", f"centres, x{chr(0x2081 + column % 9)}")
    ax.set_xscale("log")
    ax.invert_xaxis()
    if (splits > 0).any():
        ax.legend(frameon=False)
    return ax


def _branch(ax, t, y, shares, i, used, parent, colour) -> None:
    """One centre from where it came into use, joined to the one it split from."""
    if (first := used[0]) > 0:
        joint = [first - 1, first]
        ends = [y[first - 1, parent], y[first, i]]
        ax.plot(t[joint], ends, color=colour, linewidth=1)
    segments = np.stack([t[used], y[used, i]], axis=1)
    segments = np.stack([segments[:-1], segments[1:]], axis=1)
    widths = 1 + 4 * shares[used[1:], i]
    lines = _canvas.matplotlib("collections").LineCollection
    ax.add_collection(
        lines(segments, colors=[colour], linewidths=widths, capstyle="round")
    )
    ax.plot(t[used[-1]], y[used[-1], i], "o", color=colour, ms=4)
    ax.autoscale_view()
