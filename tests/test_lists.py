"""Lists against sorting by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.reduction import recommend
from jaxml.reduction.recommend import _lists as lists
from tests.common.samples import Made

RANDOM = np.random.default_rng(0)
PAIRS = lists.known(np.array([0, 0, 1, 2, 2, 2]), np.array([1, 2, 0, 0, 1, 2]), users=3)


def _params(seed):
    return recommend.init(jax.random.key(seed), users=2, items=5, k=3)


def of(x):
    """Params with these vectors of the items."""
    return recommend.Params(x, x)


SAMPLES = {
    "seen": (np.array([0, 1, 4, 4]), np.array([1, 0, 2, 2])),
    "item": np.array([1, 0, 2, 2]),
    "count": 2,
    "params": Made(_params),
    "known.weights": np.linspace(0.5, 2, 4),
    "known.user": np.array([0, 0, 1, 2]),
    "users": 3,
    "pairs": PAIRS,
    "is_known.user": np.array([0, 1, 2, 2]),
}


def test_seen_items_are_never_recommended():
    scores = RANDOM.normal(size=(6, 8))
    seen = RANDOM.uniform(size=scores.shape) < 0.5
    seen[3] = True  # who has seen everything
    row, item = np.nonzero(seen)
    top = lists.top_n(scores, (row, item), count=4)
    for r, (shown, score) in enumerate(zip(*map(np.asarray, top), strict=True)):
        left = [i for i in np.argsort(-scores[r]) if not seen[r, i]][:4]
        assert shown[: len(left)].tolist() == left
        np.testing.assert_allclose(score[: len(left)], scores[r][left], rtol=1e-6)
        assert (shown[len(left) :] == 8).all()
        assert (score[len(left) :] == -np.inf).all()
    assert (top.item[3] == 8).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_similar(metric, x64):
    """Brute force, far from the origin too, where the distance is asked for."""
    x = RANDOM.normal(size=(9, 3)) + (1e3 if metric == "euclidean" else 0)
    x[4] = 0 if metric == "cosine" else x[4]
    item = np.array([2, 0])
    found = lists.similar(of(x), item, count=3, metric=metric)
    for i, near, value in zip(item, *map(np.asarray, found), strict=True):
        if metric == "cosine":
            length = np.where(np.arange(9) == 4, 1, np.linalg.norm(x, axis=1))
            score = x @ x[i] / length / length[i]
        else:
            score = -np.linalg.norm(x - x[i], axis=1)
        order = [j for j in np.argsort(-score) if j != i][:3]
        assert near.tolist() == order
        np.testing.assert_allclose(value, np.abs(score[order]) * np.sign(value))


def test_similar_of_any_size_and_place():
    """Two pairs far apart: each item's neighbour is the other of its pair."""
    x = np.array([[1e4, 1.0], [1e4, 2.0], [-1e4, 1.0], [-1e4, 2.0]])
    for unit in (1e-30, 1.0, 1e20):
        near = lists.similar(of(unit * x), np.arange(4), count=1, metric="euclidean")
        assert near.item[:, 0].tolist() == [1, 0, 3, 2]
    small = lists.similar(of(1e-30 * RANDOM.normal(size=(4, 3))), [0], count=3)
    assert (np.abs(small.value) > 1e-3).all()


def test_equal_items_have_no_derivative_that_is_nan(x64):
    x = jnp.ones((3, 2))
    for metric in ("cosine", "euclidean"):

        def total(x, metric=metric):
            near = lists.similar(of(x), jnp.array([0]), count=2, metric=metric)
            return near.value.sum()

        assert jnp.isfinite(jax.jit(jax.grad(total))(x)).all()


def test_known_pairs():
    """Every pair of a random set is found, no other is; users without any have none."""
    user, item = RANDOM.integers(0, 20, 60) * 2 % 20, RANDOM.integers(0, 9, 60)
    pairs = lists.known(user, item, users=20)
    u, i = (a.ravel() for a in np.mgrid[:20, :9])
    wanted = np.isin(u * 9 + i, user * 9 + item)
    assert (np.asarray(lists.is_known(pairs, u, i)) == wanted).all()
    assert wanted.any()
    assert not wanted.all()


def test_known_pairs_of_weight_0():
    """They are not known, as if they had been left out."""
    user, item = RANDOM.integers(0, 20, 60), RANDOM.integers(0, 9, 60)
    weights = RANDOM.integers(0, 2, 60) * 1.0
    pairs = lists.known(user, item, users=20, weights=weights)
    left = lists.known(user[weights > 0], item[weights > 0], users=20)
    u, i = (a.ravel() for a in np.mgrid[:20, :9])
    found, wanted = (lists.is_known(p, u, i) for p in (pairs, left))
    assert (found == wanted).all()


@pytest.mark.parametrize("empty", [[], np.zeros(0, int)])
def test_who_has_seen_nothing(empty):
    scores = RANDOM.normal(size=(2, 5))
    top = lists.top_n(scores, (empty, empty), count=3)
    np.testing.assert_array_equal(top.item, np.argsort(-scores, axis=1)[:, :3])


def test_what_is_refused():
    scores, none = np.zeros((2, 3)), np.array([0])
    with pytest.raises(ValueError, match="count must be at most the number of items"):
        lists.top_n(scores, (none, none), count=4)
    with pytest.raises(ValueError, match="seen holds the label 3"):
        lists.top_n(scores, (none, np.array([3])), count=1)
    for wrong in (np.zeros((3, 2), int), none, (none,), (none, np.zeros(2, int))):
        with pytest.raises(ValueError, match="seen must"):
            lists.top_n(scores, wrong, count=1)
    with pytest.raises(ValueError, match="count must be below"):
        lists.similar(of(scores), none, count=2)
    with pytest.raises(ValueError, match="metric must be one of"):
        lists.similar(of(scores), none, count=1, metric="angle")
