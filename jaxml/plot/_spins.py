"""Spins: what configurations look like, and what their first component is."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxml import _check
from jaxml._check import Array, NonNegative
from jaxml.plot import _canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 0.06  # between lattices, of their width


@_check.host
def lattices(
    spins: Array,
    *,
    names: Sequence[str] | None = None,
    angles: bool = False,
    ax: "Axes | None" = None,
) -> "Axes":
    """Configurations of spins on square lattices, side by side.

    Two values, as of `ising`, are drawn pale and dark; more, as of `potts`, in a colour
    each, the same in every lattice; angles, as of `xy`, in a circle of colours.

        runs = …  # of several temperatures, as in `ising`
        plot.lattices(runs.spins[:, 0], names=[f"T = {t:.2f}" for t in ts])

    Args:
        spins: (rows, columns), or (k, rows, columns) for k of them.
        names: k titles.
        angles: True where spins are angles in radians.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: spins that are no lattices or not finite; names that are not k.

    """
    s = _canvas.finite("spins", spins, "rows columns|k rows columns")
    s = s.reshape(-1, *s.shape[-2:])
    k, rows, columns = s.shape
    names = [""] * k if names is None else [str(name) for name in names]
    if len(names) != k:
        raise ValueError(f"names has length {len(names)}, not k = {k}")
    across = min(k, 4 if k in (4, 7, 8) else max(3, math.ceil(math.sqrt(k))))
    down = math.ceil(k / across)
    gap, title = GAP * columns, 0.16 * columns * any(names)
    wide, high = columns + gap, rows + gap + title
    unit = min(2.6, 9 / across) / columns  # inches to a site
    ax = _canvas.axes(ax, (unit * across * wide, unit * down * high))
    ax.set_axis_off()
    ax.set_aspect("equal")
    if angles:
        s = np.angle(np.exp(1j * s))
        style: dict[str, Any] = {"cmap": "twilight", "vmin": -np.pi, "vmax": np.pi}
    else:
        style = _values(np.unique(s))
    for place, (lattice, name) in enumerate(zip(s, names)):
        left, top = place % across * wide, place // across * high + title
        extent = (left, left + columns, top + rows, top)
        ax.imshow(lattice, extent=extent, interpolation="nearest", **style)
        middle = left + columns / 2
        ax.text(middle, top - 0.25 * gap, name, ha="center", va="bottom", fontsize=10)
    ax.set(xlim=(0, across * wide - gap), ylim=(down * high - gap, 0))
    return ax


def _values(values: np.ndarray) -> dict[str, Any]:
    """A colour for each value that occurs."""
    colours = _canvas.matplotlib("colors")
    between = (values[1:] + values[:-1]) / 2
    if len(values) <= 2:
        # A lattice of one value has the shade of its sign.
        shades = ["0.92", _canvas.COLOURS[0]]
        between = between if len(values) == 2 else np.zeros(1)
    else:
        shades = list(_canvas.colours(len(values)))
    reach = np.abs(values).max() + 1
    edges = [-reach, *between, reach]
    return {
        "cmap": colours.ListedColormap(shades),
        "norm": colours.BoundaryNorm(edges, len(shades)),
    }


@_check.host
def component(
    z: Array,
    m: Array,
    *,
    temperature: NonNegative | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """The first principal component of configurations against their magnetisation.

    By symmetry under translations they are proportional, z = ±√N m, where N is the
    number of sites: the line. The correlation stands in the title.

    Args:
        z: (t,) projections of t configurations on the first component.
        m: (t,) their magnetisations.
        temperature: (t,) at which each was drawn, shown by colour.
        ax: where to draw; a new Figure if None.

    Raises:
        ValueError: shapes that disagree, values that are not finite, an m or z that is
            constant.

    """
    z, m = _canvas.finite("z", z, "t"), _canvas.finite("m", m, "t")
    _canvas.shapes(z=(z, "t"), m=(m, "t"))
    for name, value in (("z", z), ("m", m)):
        if np.ptp(value) == 0:
            raise ValueError(f"{name} is constant: it has no correlation")
    ax = _canvas.axes(ax, (5.4, 4.2))
    style = _canvas.spots(len(z))
    slope = (m @ z) / (m @ m)
    ends = np.array([m.min(), m.max()])
    ax.plot(ends, slope * ends, color=_canvas.ink(ax), linewidth=1)
    if temperature is None:
        ax.scatter(m, z, color=_canvas.COLOURS[0], zorder=2.5, **style)
    else:
        t = _canvas.finite("temperature", temperature, "t")
        _canvas.shapes(z=(z, "t"), temperature=(t, "t"))
        drawn = ax.scatter(m, z, c=t, cmap="coolwarm", zorder=2.5, **style)
        ax.figure.colorbar(drawn, ax=ax, label="temperature T")
    _canvas.tidy(ax, "magnetisation m", "first component z")
    r = np.corrcoef(z, m)[0, 1]
    ax.set_title(f"correlation {r:.5f}, slope {slope:.3g}", fontsize=11)
    return ax
