"""Measures of lists against scikit-learn and by hand; what is held out."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from jaxml.evaluate import ranking
from tests.common.samples import Made

RANDOM = np.random.default_rng(0)
SAMPLES = {
    "ranked": np.random.default_rng(2).permuted(np.tile(np.arange(3), (12, 1)), axis=1),
    "relevance": Made(
        lambda seed: np.random.default_rng(seed).uniform(0.1, 2, (12, 3))
    ),
    "count": 2,
    "time": RANDOM.normal(size=12),
}
# Three users, five items; the second has nothing relevant, the third only one item.
RELEVANCE = np.array([[3.0, 0, 1, 0, 2], [0, 0, 0, 0, 0], [0, 4, 0, 0, 0]])
RANKED = np.array([[0, 1, 4], [0, 1, 2], [3, 1, 5]])  # 5: nothing was left


def test_by_hand():
    """User 0: hits at 1 and 3 of three relevant; user 2: a hit at 2, the only one."""
    np.testing.assert_allclose(
        ranking.precision(RELEVANCE, RANKED), (2 / 3 + 1 / 3) / 2
    )
    np.testing.assert_allclose(ranking.recall(RELEVANCE, RANKED), (2 / 3 + 1) / 2)
    wanted = ((1 + 2 / 3) / 3 + 1 / 2) / 2
    found = ranking.average_precision(RELEVANCE, RANKED)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    log = np.log2([2, 3, 4])
    first = (3 / log[0] + 2 / log[2]) / (3 / log[0] + 2 / log[1] + 1 / log[2])
    found = ranking.ndcg(RELEVANCE, RANKED, weights=[1.0, 5.0, 3.0])
    np.testing.assert_allclose(found, (first + 3 / log[1]) / 4, rtol=1e-6)


def test_scikit_learn(x64):
    relevance = RANDOM.integers(0, 4, (20, 15)) * (RANDOM.uniform(size=(20, 15)) < 0.3)
    relevance[:, 0] = 1  # its mean counts users without any relevant item
    scores = RANDOM.normal(size=(20, 15))
    weights = RANDOM.uniform(size=20)
    for count in (1, 5, 15):
        ranked = np.argsort(-scores, axis=1)[:, :count]
        found = ranking.ndcg(relevance, ranked, weights=weights)
        peer = ndcg_score(relevance, scores, k=count, sample_weight=weights)
        np.testing.assert_allclose(found, peer, rtol=1e-12)


def test_perfect_and_empty():
    perfect = np.array([[0, 4, 2], [0, 1, 2], [1, 0, 2]])
    for measure in (ranking.recall, ranking.ndcg, ranking.average_precision):
        np.testing.assert_allclose(measure(RELEVANCE, perfect), 1, rtol=1e-6)
        nothing = np.full((3, 3), 5)
        assert measure(RELEVANCE, nothing) == 0
        assert np.isnan(measure(0 * RELEVANCE, perfect))


@pytest.mark.parametrize("count", [1, 3])
def test_splits(count):
    """Each user loses `count`, the latest or any; those with few keep them all."""
    import jax

    user = RANDOM.integers(0, 12, 60)
    time = RANDOM.integers(0, 10, 60).astype(float)  # with ties
    many = np.bincount(user)[user] > count
    by_chance = ranking.leave_out(jax.random.key(0), user, count=count)
    by_time = ranking.latest(user, time, count=count)
    for split in (by_chance, by_time):
        train, test = np.asarray(split.train), np.asarray(split.test)
        assert (train ^ test).all()
        held = np.bincount(user[test], minlength=12)
        wanted = np.where(np.bincount(user, minlength=12) > count, count, 0)
        assert (held == wanted).all()
    test = np.asarray(by_time.test)
    for u in range(12):
        mine = user == u
        if (mine & test).any():  # nothing learned from is later than what is judged
            assert time[mine & ~test].max() <= time[mine & test].min()
    assert many.any()


def test_what_is_shown_twice_counts_once():
    """Sets have no repetitions: no measure passes 1, and one list equals another."""
    once = np.array([[0, 5, 4], [0, 5, 5], [3, 1, 5]])
    twice = np.array([[0, 0, 4], [0, 0, 0], [3, 1, 1]])
    measures = ranking.precision, ranking.recall, ranking.average_precision
    for measure in (*measures, ranking.ndcg):
        found = measure(RELEVANCE, twice)
        assert found == measure(RELEVANCE, once)
        assert found <= 1


def test_no_such_item_and_negative_relevance():
    import jax

    beyond = np.where(RANKED == 5, 6, RANKED)
    for measure in (ranking.precision, ranking.ndcg):
        with pytest.raises(ValueError, match="ranked holds the label 6"):
            measure(RELEVANCE, beyond)
        assert np.isnan(jax.jit(measure)(RELEVANCE, beyond))
    with pytest.raises(ValueError, match="relevance must lie in"):
        ranking.ndcg(RELEVANCE - 1, RANKED)
    assert np.isnan(jax.jit(ranking.ndcg)(RELEVANCE - 1, RANKED))


@pytest.mark.parametrize("kind", [list, np.asarray, np.float64])
def test_seconds_since_1970(kind):
    """Ten of them are nothing to a float32, and milliseconds no int32."""
    time = 881250949 + np.random.default_rng(1).permutation(60)
    user = RANDOM.integers(0, 6, 60)
    for unit in (1, 1000):
        test = np.asarray(ranking.latest(user, kind(time * unit), count=2).test)
        for u in range(6):
            assert set(time[test & (user == u)]) == set(np.sort(time[user == u])[-2:])
