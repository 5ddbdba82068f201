"""Pictures of clusters: that they show the numbers given."""

import jax
import numpy as np
import pytest

from jaxml import plot
from jaxml.reduction import annealing

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.collections import LineCollection  # noqa: E402

RANDOM = np.random.default_rng(0)
LABELS = np.arange(90) % 3
CENTRES = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
X = CENTRES[LABELS] + RANDOM.normal(size=(90, 2)) * [1.0, 0.5]


def draw(ax):
    ax.figure.savefig("/dev/null", format="png")
    return ax


@pytest.mark.parametrize(
    ("sigma", "axes"),
    [
        (np.array([[[4.0, 0.0], [0.0, 1.0]]] * 3), (4, 2)),
        (np.array([[2.5, 1.5], [1.5, 2.5]]), (4, 2)),
        (np.array([[1.0, 4.0]] * 3), (4, 2)),
        (np.array([1.0, 1.0, 1.0]), (2, 2)),
    ],
    ids=["full", "tied", "diagonal", "spherical"],
)
def test_ellipses_are_as_wide_as_deviations(sigma, axes):
    ax = plot.clusters(X, LABELS, centres=CENTRES, covariances=sigma, deviations=1)
    assert len(ax.patches) == 3
    for patch, centre in zip(draw(ax).patches, CENTRES, strict=True):
        np.testing.assert_allclose(patch.center, centre)
        sides = sorted((patch.width, patch.height), reverse=True)
        np.testing.assert_allclose(sides, axes)
        # The ends of the axes lie one deviation away.
        full = np.linalg.inv(np.broadcast_to(_full(sigma), (3, 2, 2))[0])
        for end in patch.get_co_vertices():
            away = np.asarray(end) - centre
            np.testing.assert_allclose(away @ full @ away, 1, rtol=1e-6)


def _full(sigma):
    if sigma.ndim == 1:
        return sigma[:, None, None] * np.eye(2)
    return sigma if sigma.shape != (3, 2) else sigma[:, :, None] * np.eye(2)


def test_each_row_is_drawn_in_its_cluster():
    ax = draw(plot.clusters(X, LABELS, centres=CENTRES))
    rows = [c.get_offsets() for c in ax.collections[:3]]
    for i in range(3):
        np.testing.assert_allclose(rows[i], X[i == LABELS])
    names = [t.get_text() for t in ax.get_legend().get_texts()]
    assert names == ["0", "1", "2"]
    np.testing.assert_allclose(ax.collections[3].get_offsets(), CENTRES)


def test_branches_are_the_path():
    path = annealing.path(X, k=3, count=20)
    ax = draw(plot.bifurcations(path, column=1))
    branches = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert len(branches) == 3
    shares = np.asarray(path.params.shares)
    for i, branch in enumerate(branches):
        ends = np.array([segment[1] for segment in branch.get_segments()])
        used = shares[:, i] > 0
        np.testing.assert_allclose(
            ends[:, 1], path.params.centres[used][1:, i, 1], rtol=1e-5
        )
        np.testing.assert_allclose(ends[:, 0], path.temperatures[used][1:], rtol=1e-5)
    splits = {round(float(s), 4) for s in path.split if s > 0}
    lines = {round(line.get_xdata()[0], 4) for line in ax.lines if line.is_dashed()}
    assert len(splits) == 2
    assert splits <= lines
    assert ax.xaxis_inverted()


def test_bad_arguments():
    with pytest.raises(ValueError, match="^x has shape"):
        plot.clusters(np.ones((5, 3)), np.zeros(5, int))
    with pytest.raises(ValueError, match="^centres must be given"):
        plot.clusters(X, LABELS, covariances=np.ones(3))
    with pytest.raises(ValueError, match="^covariances are 2, and centres 3"):
        plot.clusters(X, LABELS, centres=CENTRES, covariances=np.ones(2))
    with pytest.raises(ValueError, match="^covariances must not be negative"):
        plot.clusters(X, LABELS, centres=CENTRES, covariances=-np.ones(3))
    with pytest.raises(ValueError, match="^path must be of annealing.path"):
        plot.bifurcations(np.ones(3))
    path = jax.tree.map(np.asarray, annealing.path(X, k=3, count=20))
    with pytest.raises(ValueError, match="^column must be in 0 … n - 1 = 1"):
        plot.bifurcations(path, column=2)
