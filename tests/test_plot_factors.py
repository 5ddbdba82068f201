"""The picture of factors: who is named, and where."""

import io

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from jaxml import recommend
from jaxml.plot import _factors as factors

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 5)) * [3, 1, 0.5, 0.2, 0.1] + 7
NAMES = [f"film {i}" for i in range(40)]


def test_the_nearest_are_named():
    """Those that recommend.similar finds, and the item itself."""
    ax = factors.factor_neighbours(X, 3, names=NAMES, count=4)
    params = recommend.Params(X, X)
    near = recommend.similar(params, np.array([3]), count=4, metric="euclidean")
    found = near.item[0]
    wanted = {"film 3", *(f"film {int(i)}" for i in found)}
    assert {text.get_text() for text in ax.texts} == wanted
    assert ax.get_xlabel() == "first principal axis"


def test_the_plane():
    """Two columns as they are, or the principal axes: variances in order."""
    ax = factors.factor_neighbours(X, 0, count=2, factors=(1, 3))
    points = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(points, X[:, [1, 3]])
    points = np.asarray(
        factors.factor_neighbours(X, 0, count=2).collections[0].get_offsets()
    )
    values = np.linalg.eigvalsh(np.cov(X.T))[::-1]
    np.testing.assert_allclose(points.var(0, ddof=1), values[:2])
    ax.figure.savefig(io.BytesIO())


def test_what_is_refused():
    for wrong, message in (
        ({"item": 40}, "item must be below 40"),
        ({"count": 40}, "count must be below"),
        ({"names": ["a"]}, "names has length 1"),
        ({"factors": (0, 5)}, "factors must be below 5"),
        ({"x": X[:, :1]}, "x has one factor"),
    ):
        with pytest.raises(ValueError, match=message):
            factors.factor_neighbours(**{"x": X, "item": 0, **wrong})
