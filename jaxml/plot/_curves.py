"""Regression: curves with their bands, what they leave over, and paths of weights."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxml import _check
from jaxml._check import Array
from jaxml.plot import _canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of the weights that a path names, one more apart; yellow is too pale for a line, and
# grey are all the others.
PATHS = tuple(_canvas.COLOURS[i] for i in (0, 1, 2, 3, 4, 5, 8))
PREDICTED = ("prediction_low", "prediction_high")


@_check.host
def band(
    x: Array,
    y: Array,
    at: Array,
    band: Any,
    *,
    prediction: Any = None,
    sigma: Array | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """A fitted curve over its data, with the bands that the curve and new data lie in.

    With `regression.linear`, whose band holds both, and with `regression.curve`:

        plot.band(x[:, 0], y, grid[:, 0], linear.band(params, found, grid))
        plot.band(x, y, grid, curve.band(f, params, table, grid), sigma=sigma,
                   prediction=curve.band(f, params, table, grid, kind="prediction"))

    Args:
        x: (m,) or (m, 1) abscissae of the data.
        y: (m,) what was measured there.
        at: (q,) or (q, 1) abscissae of the curve, in any order.
        band: a Band of either module, of (q,); or (q,) numbers, the curve alone.
        prediction: Band for new measurements, (q,), where band does not hold it.
        sigma: (m,) standard deviations of y, drawn as error bars.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: shapes that disagree, no Band, or values that are not finite.

    """
    x, y = _canvas.finite("x", x, "m|m 1"), _canvas.finite("y", y, "m")
    at = _canvas.finite("at", at, "q|q 1")
    _canvas.shapes(x=(x, "m|m 1"), y=(y, "m"), at=(at, "q|q 1"))
    middle, inner, outer = _bands("band", band, at)
    if prediction is not None:
        outer = _bands("prediction", prediction, at)[1]
        if outer is None:
            raise ValueError("prediction must be a Band, not an array")
    if sigma is not None:
        sigma = _canvas.finite("sigma", sigma, "m")
        _canvas.shapes(y=(y, "m"), sigma=(sigma, "m"))
        if sigma.min() < 0:
            raise ValueError("sigma must not be negative")
    ax = _canvas.axes(ax, (6.4, 4.2))
    order = np.argsort(at.ravel(), kind="stable")
    at = at.ravel()[order]
    named = (
        (outer, _canvas.COLOURS[4], "prediction"),
        (inner, _canvas.COLOURS[0], "fit"),
    )
    for ends, colour, name in named:
        if ends is not None:
            low, high = (end[order] for end in ends)
            shade: dict[str, Any] = {"color": colour, "alpha": 0.3, "linewidth": 0}
            ax.fill_between(at, low, high, label=f"band of the {name}", **shade)
    ax.plot(at, middle[order], color=_canvas.COLOURS[0], label="fit", zorder=2.8)
    if sigma is not None:
        bars: dict[str, Any] = {
            "fmt": "none",
            "ecolor": "0.5",
            "elinewidth": 1,
            "capsize": 2,
        }
        ax.errorbar(x.ravel(), y, sigma, zorder=2.6, **bars)
    style = _canvas.spots(len(y))
    ax.scatter(x.ravel(), y, color=_canvas.ink(ax), label="data", zorder=2.7, **style)
    _canvas.tidy(ax, "x", "y")
    ax.legend(frameon=False)
    return ax


def _bands(name: str, band: Any, at: np.ndarray):
    """The curve, (q,), and its bands, each two of (q,), or None."""
    fields = getattr(band, "_fields", ())
    if not fields:
        return _part(name, band, at), None, None
    if not {"mean", "low", "high"} <= {*fields}:
        kind = type(band).__name__
        raise ValueError(f"{name} must be a Band or an array, not {kind}{fields}")
    parts = {f: _part(f"{name}.{f}", getattr(band, f), at) for f in fields}
    outer = [parts[f] for f in PREDICTED] if {*PREDICTED} <= {*fields} else None
    return parts["mean"], [parts["low"], parts["high"]], outer


def _part(name: str, value: Any, at: np.ndarray) -> np.ndarray:
    array = _canvas.finite(name, value, "q")
    _canvas.shapes(at=(at, "q|q 1"), **{name: (array, "q")})
    return array


# --- residuals ---------------------------------------------------------------------


@_check.host
def residuals(
    y: Array, predicted: Array, *, sigma: Array | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Residuals y - h(x) against h(x), and the lines at twice their root mean square s.

    Where the model is right they lie about 0 in a strip of the same width all along; a
    bow tells of a missing term, a funnel of errors that grow.

    Args:
        y: (m,) targets.
        predicted: (m,) h(x), what the model gives for them.
        sigma: (m,) standard deviations of y, by which residuals are divided; 1 if None.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: shapes that disagree, values that are not finite, a sigma that is
            not positive.

    """
    r, h, name = _left(y, predicted, sigma)
    size = np.sqrt(np.mean(r**2))
    ax = _canvas.axes(ax, (6, 4))
    ax.axhline(0, color="0.5", linewidth=1)
    for side in (-2, 2):
        style: dict[str, Any] = {"color": _canvas.COLOURS[5], "linestyle": "--"}
        ax.axhline(side * size, linewidth=1.2, **style)
    ax.scatter(h, r, color=_canvas.COLOURS[0], zorder=2.5, **_canvas.spots(len(r)))
    _canvas.tidy(ax, "fitted h(x)", name)
    inside = np.mean(np.abs(r) <= 2 * size)
    title = f"{inside:.1%} of {len(r)} residuals within ±2s, s = {size:.3g}"
    ax.set_title(title, fontsize=11)
    return ax


@_check.host
def qq(
    y: Array, predicted: Array, *, sigma: Array | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Residuals, sorted, against the quantiles of a normal distribution.

    Where they are normal they follow the line through their quartiles; ends that turn
    away from it are tails, heavier or lighter. Each has its place in the band with 95 %
    if the line is the true one. About a line that they chose themselves it is more in
    the middle and less towards the ends: for m = 100, 99 % and 89 %, 97 % in all.

    Args:
        y: (m,) targets, m > 1.
        predicted: (m,) h(x), what the model gives for them.
        sigma: (m,) standard deviations of y, by which residuals are divided; 1 if None.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: as in `residuals`, or residuals too few or too alike for quartiles.

    Source: Wilk and Gnanadesikan (1968); places (i - 3/8)/(m + 1/4) by Blom (1958).

    """
    r, _, name = _left(y, predicted, sigma)
    m, normal = len(r), NormalDist()
    r = np.sort(r)
    p = (np.arange(1, m + 1) - 0.375) / (m + 0.25)
    z = np.array([normal.inv_cdf(each) for each in p])
    low, high = np.quantile(r, [0.25, 0.75])
    if high <= low:
        raise ValueError("y - predicted has quartiles that coincide: no scale to draw")
    spread = (high - low) / (2 * normal.inv_cdf(0.75))
    line = (low + high) / 2 + spread * z
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    half = 1.96 * spread * np.sqrt(p * (1 - p) / m) / density
    ax = _canvas.axes(ax, (5, 4.2))
    shade: dict[str, Any] = {"color": _canvas.COLOURS[1], "alpha": 0.25, "linewidth": 0}
    ax.fill_between(z, line - half, line + half, label="95% at each point", **shade)
    through: dict[str, Any] = {
        "color": _canvas.COLOURS[1],
        "label": "through the quartiles",
    }
    ax.plot(z, line, linewidth=1.5, **through)
    style = _canvas.spots(m)
    ax.scatter(z, r, color=_canvas.COLOURS[0], zorder=2.5, **style)
    _canvas.tidy(ax, "quantile of the normal distribution", name)
    ax.legend(frameon=False, loc="upper left")
    return ax


def _left(y: Any, predicted: Any, sigma: Any) -> tuple[np.ndarray, np.ndarray, str]:
    """Residuals, (m,), fitted values, (m,), and what the residuals are called."""
    y, h = _canvas.finite("y", y, "m"), _canvas.finite("predicted", predicted, "m")
    _canvas.shapes(y=(y, "m"), predicted=(h, "m"))
    if sigma is None:
        return y - h, h, "residual y − h(x)"
    sigma = _canvas.finite("sigma", sigma, "m")
    _canvas.shapes(y=(y, "m"), sigma=(sigma, "m"))
    if sigma.min() <= 0:
        raise ValueError("sigma must be positive")
    return (y - h) / sigma, h, "residual (y − h(x)) / σ"


# --- penalties ---------------------------------------------------------------------


@_check.host
def coefficient_path(
    penalties: Array,
    w: Array,
    *,
    names: Sequence[str] | None = None,
    chosen: Any = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Each weight as the penalty λ grows, on a logarithmic axis.

    With the paths of `regression.ridge` and `regression.lasso`:

        plot.coefficient_path(l2s, ridge.path(x, y, l2s=l2s).w)
        found = lasso.path(x, y)
        plot.coefficient_path(found.l1s, found.fits.params.w)

    The eight weights that become largest have colours and names; others are grey.

    Args:
        penalties: (c,) λ, above 0, in any order.
        w: (c, n) weights, a row for each penalty.
        names: n names of the features; w with their numbers if None.
        chosen: a λ to be marked, such as the best of `selection`.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: shapes that disagree, penalties not above 0, weights not finite, or
            names that are not n.

    """
    penalties = _canvas.finite("penalties", penalties, "c")
    w = _canvas.finite("w", w, "c n")
    _canvas.shapes(penalties=(penalties, "c"), w=(w, "c n"))
    if penalties.min() <= 0:
        raise ValueError("penalties must be positive: their axis is logarithmic")
    n = w.shape[1]
    names = [f"w{j}" for j in range(n)] if names is None else [str(j) for j in names]
    if len(names) != n:
        raise ValueError(f"names has length {len(names)}, not n = {n}")
    order = np.argsort(penalties, kind="stable")
    penalties, w = penalties[order], w[order]
    ax = _canvas.axes(ax, (6.6, 4.2))
    colours = [*PATHS, _canvas.ink(ax)]
    largest = np.argsort(-np.abs(w).max(axis=0), kind="stable")
    named, rest = largest[: len(colours)], largest[len(colours) :]
    ax.axhline(0, color="0.5", linewidth=1)
    for j in rest:
        ax.plot(penalties, w[:, j], color="0.5", alpha=0.5, linewidth=0.8)
    # The legend has the order of the lines where λ is least.
    for place, j in enumerate(sorted(named, key=lambda j: -w[0, j])):
        line = _canvas.LINES[place % len(_canvas.LINES)]
        ax.plot(penalties, w[:, j], line, color=colours[place], label=names[j])
    _canvas.mark(ax, "chosen", chosen, "λ", True)
    ax.set_xscale("log")
    _canvas.tidy(ax, "penalty λ", "weight")
    _canvas.beside(ax, f"{len(named)} of {n} features" if len(rest) else "feature")
    return ax
