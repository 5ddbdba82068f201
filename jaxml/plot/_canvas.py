"""Where pictures are drawn, in which colours, and what may be drawn."""

import importlib
from typing import Any

import numpy as np

from jaxml import _check

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


def matplotlib(module: str) -> Any:
    """A module of matplotlib, an extra, or how to install it."""
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ModuleNotFoundError as error:
        raise ImportError(
            "jaxml.plot needs matplotlib: pip install 'jaxml[plot]'"
        ) from error


def axes(ax: Any, size: tuple[float, float]) -> Any:
    """The Axes given, or those of a new Figure, which pyplot does not know."""
    if ax is None:
        return matplotlib("figure").Figure(size, layout="constrained").subplots()
    if not isinstance(ax, matplotlib("axes").Axes):
        raise ValueError(f"ax must be matplotlib Axes, not {type(ax).__name__}")
    return ax


def shapes(**arrays: Any) -> None:
    """Check NumPy's arrays as others are checked."""
    _check.shapes(**arrays)


def numbers(name: str, value: Any, shape: str) -> np.ndarray:
    """The value as NumPy's float64 of a shape such as "m n"; NaN may be there."""
    array = np.asarray(_check.array(name, value, False), np.float64)
    shapes(**{name: (array, shape)})
    return array


def finite(name: str, value: Any, shape: str) -> np.ndarray:
    """As `numbers`; refuse NaN and infinity."""
    array = numbers(name, value, shape)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds non-finite values")
    return array


def labels(name: str, value: Any) -> np.ndarray:
    """The value as (m,) labels that count from 0."""
    array = np.asarray(_check.array(name, value, True))
    shapes(**{name: (array, "m")})
    _check.labels(name, array)
    return array.astype(np.int64)


def colours(k: int) -> np.ndarray:
    """(k, 3) colours between 0 and 1."""
    colours = matplotlib("colors")
    if k <= len(COLOURS):
        return np.array([colours.to_rgb(c) for c in COLOURS[:k]])
    return matplotlib("cm").ScalarMappable(cmap="turbo").to_rgba(np.arange(k))[:, :3]


def tidy(ax: Any, x: str, y: str) -> None:
    """Names of the axes, a pale grid, and no lines at the top and right."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def beside(ax: Any, title: str | None = None) -> None:
    """A legend at the right of the axes, where it hides nothing."""
    ax.legend(title=title, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def ink(ax: Any) -> Any:
    """What the axes are lettered in: black, or white where a style is dark."""
    return ax.xaxis.label.get_color()


def spots(m: int) -> dict[str, Any]:
    """A style for m points: the more, the smaller and the paler."""
    many = m > 500
    return {"s": 6 if many else 18, "alpha": 0.35 if many else 0.9, "linewidths": 0}


def mark(ax: Any, name: str, value: Any, symbol: str, log: bool) -> None:
    """A vertical line where a value, if there is one, lies on the axis."""
    if value is None:
        return
    place = float(finite(name, value, ""))
    if log and place <= 0:
        raise ValueError(f"{name} must be positive on a logarithmic axis")
    style: dict[str, Any] = {"color": "0.4", "linestyle": ":", "linewidth": 1.5}
    ax.axvline(place, label=f"{symbol} = {place:.3g}", **style)
