"""Scores: how they grow with data and hyper-parameters, and how far to be believed."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxml import _check
from jaxml.optimize._fit import Status
from jaxml.plot import _canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@_check.host
def learning_curve(
    curve: Any, *, score: str = "score", ax: "Axes | None" = None
) -> "Axes":
    """Scores on training and held-out rows against the number of rows learned from.

    The line is the mean over folds, the band its standard error; a cross at the foot
    stands where a fit failed. A gap that stays says
    that more rows would help; two curves that have met, that another model would.

    Args:
        curve: Curve of selection.learning_curve, (g,) rows and (f, g) scores.
        score: what was measured, for the axis.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: no such Curve, or one without a point where no fit failed.

    """
    ax = _scores(curve, score, False, ax)
    ax.set_xlabel("rows learned from")
    ax.xaxis.set_major_locator(_canvas.matplotlib("ticker").MaxNLocator(integer=True))
    ax.legend(frameon=False)
    return ax


@_check.host
def validation_curve(
    curve: Any,
    *,
    name: str = "λ",
    score: str = "score",
    log: bool = True,
    chosen: Any = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Scores on training and held-out rows along one hyper-parameter.

    Drawn as in `learning_curve`. The scores of cross_validate along one name of a grid
    make one, too: selection.ScoreCurve(points["l2"], *scores[:3]).

    Args:
        curve: Curve of selection.validation_curve, (g,) values and (f, g) scores.
        name: the hyper-parameter, for the axis.
        score: what was measured, for the axis.
        log: for a logarithmic axis, on which only positive values have a place.
        chosen: a value to be marked.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: no such Curve, one without a point where no fit failed, or values
            that are not positive where log is asked for.

    """
    ax = _scores(curve, score, log, ax)
    _canvas.mark(ax, "chosen", chosen, name, log)
    ax.set_xlabel(name)
    ax.legend(frameon=False)
    return ax


@_check.host
def reliability(diagram: Any, *, ax: "Axes | None" = None) -> "Axes":
    """Accuracy against confidence, bin by bin: on the diagonal where it is calibrated.

    Bars, with their axis at the right, are the weights; the title has the expected
    calibration error, ECE = Σ n |accuracy - confidence| / Σ n.

    Args:
        diagram: Reliability of calibration.reliability, (bins,) of each and their
            edges; where a weight is 0 the rest may be NaN.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: no such Reliability, shapes that disagree, weights that are negative
            or all 0, shares that are no numbers between 0 and 1.

    Source: DeGroot and Fienberg (1983); ECE: Naeini, Cooper and Hauskrecht (2015).

    """
    count, edges = _field(diagram, "weight"), _field(diagram, "edges")
    count = _canvas.finite("diagram.weight", count, "bins")
    if count.min() < 0 or not count.any():
        raise ValueError("diagram.weight must not be negative, nor 0 in every bin")
    edges = _canvas.finite("diagram.edges", edges, str(len(count) + 1))
    there = count > 0
    p, right = (_shares(diagram, name, there) for name in ("confidence", "accuracy"))
    error = np.average(np.abs(right - p), weights=count[there])
    ax = _canvas.axes(ax, (5.6, 4.6))
    _bars(ax, edges, count)
    ax.plot([0, 1], [0, 1], color="0.4", linestyle="--", label="calibrated")
    ax.vlines(p, p, right, color=_canvas.COLOURS[5], linewidth=2, label="gap")
    line: dict[str, Any] = {"color": _canvas.COLOURS[0], "marker": "o", "ms": 5}
    ax.plot(p, right, label="forecasts", **line)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))  # marks at the ends are whole
    _canvas.tidy(ax, "confidence", "accuracy")
    ax.set_title(f"ECE {error:.4f}, {count.sum():.6g} rows", fontsize=11)
    ax.legend(frameon=False, loc="upper left")
    return ax


def _field(diagram: Any, name: str) -> Any:
    if name not in getattr(diagram, "_fields", ()):
        kind = type(diagram).__name__
        raise ValueError(f"diagram must be calibration.Reliability, not {kind}")
    return getattr(diagram, name)


def _shares(diagram: Any, name: str, there: np.ndarray) -> np.ndarray:
    """What diagram holds by that name, of the bins that are not empty."""
    name, value = f"diagram.{name}", _field(diagram, name)
    value = _canvas.numbers(name, value, "bins")
    _canvas.shapes(**{"diagram.weight": (there, "bins"), name: (value, "bins")})
    value = value[there]
    # Rounding may carry a mean just beyond 1.
    if not ((value >= -1e-6) & (value <= 1 + 1e-6)).all():
        raise ValueError(f"{name} must lie in [0, 1] where the weight is not 0")
    return value


def _bars(ax: Any, edges: np.ndarray, count: np.ndarray) -> None:
    """Counts as pale bars in the lowest quarter, behind the axes' own curves."""
    other = ax.twinx()
    widths = np.diff(edges)
    grey: dict[str, Any] = {"color": "0.5", "edgecolor": "0.5", "alpha": 0.35}
    other.bar(edges[:-1], count, widths, align="edge", **grey)
    other.set_ylim(0, 4 * count.max())
    other.set_yticks([0, count.max()], ["0", f"{count.max():.6g}"])
    other.set_ylabel("rows", loc="bottom")
    other.spines[["top", "right"]].set_visible(False)
    ax.set_zorder(other.get_zorder() + 1)
    ax.patch.set_visible(False)  # or it would hide them


# --- scores over folds -------------------------------------------------------------


def _scores(curve: Any, score: str, log: bool, ax: Any) -> Any:
    """Both means over folds with their standard errors, and where there is none."""
    if not {"at", "train", "test", "status"} <= {*getattr(curve, "_fields", ())}:
        kind = type(curve).__name__
        raise ValueError(f"curve must be a Curve of selection, not {kind}")
    at = _canvas.finite("curve.at", curve.at, "g")
    if log and at.min() <= 0:
        raise ValueError("curve.at must be positive where log=True")
    order = np.argsort(at, kind="stable")
    status = _canvas.numbers("curve.status", curve.status, "f g")
    train, test = (
        _canvas.numbers(f"curve.{name}", getattr(curve, name), "f g")
        for name in ("train", "test")
    )
    _canvas.shapes(
        **{
            "curve.at": (at, "g"),
            "curve.train": (train, "f g"),
            "curve.test": (test, "f g"),
            "curve.status": (status, "f g"),
        }
    )
    # A fold without rows to be judged by has no score, though its fits went well.
    failed = (status >= Status.UNBOUNDED).all(axis=1)
    held = np.isfinite(test).any(axis=1) | failed
    known = np.isfinite(test[held]).all(axis=0) & held.any()
    if not known.any():
        raise ValueError("curve.test has no point at which all folds have a score")
    ax = _canvas.axes(ax, (6, 4))
    kinds = ("training rows", train), ("held-out rows", test[held])
    for i, (name, scores) in enumerate(kinds):
        _mean(ax, at[order], scores[:, order], name, i)
    if not known.all():
        style: dict[str, Any] = {
            "marker": "x",
            "color": _canvas.COLOURS[5],
            "label": "no score",
        }
        foot = np.full(np.sum(~known), 0.03)
        ax.scatter(at[~known], foot, transform=ax.get_xaxis_transform(), **style)
    if log:
        ax.set_xscale("log")
    folds = f"{held.sum()} of {len(held)}" if not held.all() else str(len(held))
    title = f"mean ± standard error over {folds} folds"
    ax.set_title(title if held.sum() > 1 else "one fold", fontsize=11)
    _canvas.tidy(ax, "", score)
    return ax


def _mean(ax: Any, at: np.ndarray, scores: np.ndarray, name: str, i: int) -> None:
    """Mean over folds, a gap where one is NaN, and the band of its standard error."""
    colour = _canvas.COLOURS[i]
    mean, many = scores.mean(axis=0), len(scores)
    if many > 1:
        half = scores.std(axis=0, ddof=1) / np.sqrt(many)
        shade: dict[str, Any] = {"color": colour, "alpha": 0.25, "linewidth": 0}
        ax.fill_between(at, mean - half, mean + half, **shade)
    line: dict[str, Any] = {
        "linestyle": _canvas.LINES[i],
        "marker": _canvas.MARKERS[i],
        "ms": 4,
    }
    ax.plot(at, mean, color=colour, label=name, **line)
