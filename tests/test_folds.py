"""Folds against scikit-learn's splitters and their own invariants."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import model_selection as oracle

from jaxml.evaluate import selection

M = 60
RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, M)
KEY = jax.random.key(0)
SAMPLES = {"m": 12, "folds": 3}


def folds_of(splitter, *data):
    """Folds as scikit-learn splits them."""
    m = len(data[0])
    masks = [[np.isin(np.arange(m), part) for part in s] for s in splitter.split(*data)]
    return selection.Folds(*(jnp.array(each) for each in zip(*masks, strict=True)))


def is_partition(folds, m, k):
    assert folds.train.shape == folds.test.shape == (k, m)
    assert folds.train.dtype == folds.test.dtype == bool
    np.testing.assert_array_equal(folds.train, ~folds.test)
    np.testing.assert_array_equal(folds.test.sum(axis=0), np.ones(m))


@pytest.mark.parametrize(("m", "k"), [(12, 3), (61, 5), (7, 7), (10, 1)])
def test_k_fold(m, k):
    folds = selection.k_fold(KEY, m=m, folds=k)
    is_partition(folds, m, k)
    sizes = (
        [len(test) for _, test in oracle.KFold(k).split(np.zeros(m))] if k > 1 else m
    )
    np.testing.assert_array_equal(folds.test.sum(axis=1), sizes)


def test_k_fold_is_uniform():
    """Each row is in each fold, and each pair together, as often as it should be."""
    keys = jax.random.split(KEY, 2000)
    test = jax.vmap(lambda key: selection.k_fold(key, m=6, folds=3))(keys).test
    share = np.mean(test, axis=0)
    np.testing.assert_allclose(share, 1 / 3, atol=4 * np.sqrt(2 / 9 / 2000))
    together = np.mean(np.einsum("bki,bkj->bij", test, test), axis=0)
    pairs = together[np.triu_indices(6, 1)]
    np.testing.assert_allclose(pairs, 1 / 5, atol=4 * np.sqrt(0.16 / 2000))


@pytest.mark.parametrize("k", [2, 5, 7])
def test_stratified(k):
    folds = selection.stratified(KEY, LABELS, folds=k)
    is_partition(folds, M, k)
    sizes = folds.test.sum(axis=1)
    assert np.ptp(sizes) <= 1
    theirs = folds_of(oracle.StratifiedKFold(k), np.zeros(M), LABELS)
    for label in range(3):
        ours = np.sort((folds.test & (label == LABELS)[None]).sum(axis=1))
        np.testing.assert_array_equal(
            ours, np.sort((theirs.test & (label == LABELS)[None]).sum(axis=1))
        )


def test_leave_one_out():
    folds = selection.leave_one_out(9)
    is_partition(folds, 9, 9)
    np.testing.assert_array_equal(folds.test, np.eye(9, dtype=bool))


@pytest.mark.parametrize("k", [2, 4, 8])
def test_grouped(k):
    groups = np.repeat([3, 100, 7, 0, 5, 42, 8, 9], [20, 3, 9, 11, 2, 6, 5, 4])
    groups = RANDOM.permutation(groups)
    folds = selection.grouped(groups, folds=k)
    is_partition(folds, M, k)
    for test in folds.test:
        assert not set(groups[test]) & set(groups[~test])
    theirs = folds_of(oracle.GroupKFold(k), np.zeros(M), None, groups)
    sizes = np.sort(folds.test.sum(axis=1))
    np.testing.assert_array_equal(sizes, np.sort(theirs.test.sum(axis=1)))
    if k == 8:
        assert all(len(set(groups[test])) == 1 for test in folds.test)


def test_grouped_with_more_folds_than_groups():
    groups = jnp.arange(12) % 3
    with pytest.raises(ValueError, match="folds must be at most the 3 groups, not 4"):
        selection.grouped(groups, folds=4)
    traced = jax.jit(functools.partial(selection.grouped, folds=4))(groups)
    np.testing.assert_array_equal(np.sort(traced.test.sum(axis=1)), [0, 4, 4, 4])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gap": 3},
        {"test_size": 4},
        {"test_size": 5, "gap": 2, "longest": 7},
        {"longest": 4},
    ],
)
def test_time_ordered(options):
    theirs = {"test_size": "test_size", "gap": "gap", "longest": "max_train_size"}
    splitter = oracle.TimeSeriesSplit(
        4, **{theirs[name]: value for name, value in options.items()}
    )
    folds = selection.time_ordered(M, folds=4, **options)
    for ours, wanted in zip(folds, folds_of(splitter, np.zeros(M)), strict=True):
        np.testing.assert_array_equal(ours, wanted)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: selection.k_fold(KEY, m=4, folds=5),
            "folds must be at most m = 4, not 5",
        ),
        (lambda: selection.k_fold(KEY, m=4, folds=0), "folds must be at least 1"),
        (lambda: selection.k_fold(KEY, m=4.0, folds=2), "m must be a Python int"),
        (
            lambda: selection.stratified(KEY, [0, 1], folds=3),
            "folds must be at most m = 2",
        ),
        (
            lambda: selection.stratified(KEY, LABELS / 2, folds=3),
            "y must hold integer labels",
        ),
        (lambda: selection.leave_one_out(1), "m must be at least 2"),
        (lambda: selection.grouped([0, 1], folds=3), "folds must be at most m = 2"),
        (lambda: selection.grouped([-1, 1], folds=2), "groups holds the label -1"),
        (
            lambda: selection.grouped(np.array([0, 2**32]), folds=2),
            f"groups holds the label {2**32}",
        ),
        (lambda: selection.time_ordered(5, folds=5), "test_size must be at least 1"),
        (lambda: selection.time_ordered(6, folds=5, gap=1), "m = 6 leaves no rows"),
        (lambda: selection.time_ordered(6, folds=2, gap=-1), "gap must be at least 0"),
    ],
)
def test_bad_folds(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
