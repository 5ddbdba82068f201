"""Scales against NumPy in float64 and scikit-learn; splits by what they promise."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import preprocessing

from jaxml.data import scaling
from tests.depth import cases

SAMPLES = {
    "k": 3,
    "params": scaling.Params(jnp.array([0.5, -1.0, 2.0]), jnp.array([1.0, 2.0, 0.5])),
    "z": jnp.arange(36.0).reshape(12, 3) / 7,
    "test_size": 4,
}
RANDOM = np.random.default_rng(0)
X = RANDOM.normal([0.0, 5.0, -2.0], [1.0, 3.0, 0.1], (12, 3)).astype(np.float32)
COUNTS = RANDOM.integers(0, 4, 12)


@pytest.mark.parametrize("ddof", [0, 1])
def test_standardise_is_numpy(ddof):
    shift, scale = scaling.standardise(X, ddof=ddof)
    np.testing.assert_allclose(shift, X.mean(0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(scale, X.std(0, ddof=ddof, dtype=float), rtol=1e-6)


@pytest.mark.parametrize("fit", [scaling.standardise, scaling.min_max])
def test_integer_weights_are_repeated_rows(fit):
    weighted = fit(X, weights=COUNTS)
    chex.assert_trees_all_close(weighted, fit(np.repeat(X, COUNTS, axis=0)), rtol=1e-6)


@pytest.mark.parametrize("fit", [scaling.standardise, scaling.min_max])
def test_rows_of_weight_0_are_ignored(fit):
    wild = X.copy()
    wild[3] = [3e38, -3e38, 1e30]
    weights = np.ones(12)
    weights[3] = 0
    there = fit(wild, weights=weights)
    chex.assert_trees_all_close(there, fit(np.delete(X, 3, axis=0)), rtol=1e-6)


def test_fractional_weights_are_sklearn():
    weights = RANDOM.random(12)
    ours = scaling.standardise(X, weights=weights, ddof=0)
    theirs = preprocessing.StandardScaler().fit(X.astype(float), sample_weight=weights)
    np.testing.assert_allclose(ours.shift, theirs.mean_, rtol=1e-5)
    np.testing.assert_allclose(ours.scale, theirs.scale_, rtol=1e-5)


@pytest.mark.parametrize("size", [2.0**-100, 2.0**126])
def test_weights_of_any_unit(size):
    """Their sum is no number of float32."""
    weights = RANDOM.random(12).astype(np.float32)
    wanted = scaling.standardise(X, weights=weights, ddof=0)
    found = scaling.standardise(X, weights=np.float32(size) * weights, ddof=0)
    chex.assert_trees_all_close(found, wanted, rtol=1e-6)


def test_standardise_with_a_mean_of_many_standard_deviations():
    x = RANDOM.normal(1e4, 1.0, (60_000, 2)).astype(np.float32)
    shift, scale = scaling.standardise(x)
    np.testing.assert_allclose(shift, x.mean(0, dtype=float), rtol=1e-7)
    np.testing.assert_allclose(scale, x.std(0, ddof=1, dtype=float), rtol=1e-5)


@pytest.mark.parametrize("size", [1e38, 1e-30])
def test_standardise_neither_overflows_nor_underflows(size):
    x = np.array([[size, size], [-size, 0.0], [size, -size]], np.float32)
    shift, scale = scaling.standardise(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(shift, exact.mean(0), rtol=1e-6, atol=1e-6 * size)
    np.testing.assert_allclose(scale, exact.std(0, ddof=1), rtol=1e-6)
    z = jax.jit(scaling.transform)(scaling.Params(shift, scale), x)
    wanted = (exact - exact.mean(0)) / exact.std(0, ddof=1)
    np.testing.assert_allclose(z, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "fit", cases([scaling.standardise, scaling.min_max], quick=[scaling.standardise])
)
def test_constant_column_keeps_scale_1(fit):
    x = np.column_stack([np.full(12, 0.1, np.float32), X[:, 0]])
    params = fit(x)
    assert params.scale[0] == 1
    assert not scaling.transform(params, x)[:, 0].any()
    assert fit(x[:1]).scale.tolist() == [1, 1]  # one row makes every column constant
    slope = jax.grad(lambda x: fit(x).scale.sum())(jnp.asarray(x))
    assert np.isfinite(slope).all()


def test_weights_that_leave_no_degree_of_freedom_are_nan():
    weights = np.full(12, 1 / 12)
    assert np.isnan(scaling.standardise(X, weights=weights).scale).all()
    assert np.isfinite(scaling.standardise(X, weights=weights, ddof=0).scale).all()


@pytest.mark.parametrize("fit", [scaling.standardise, scaling.min_max])
def test_traced_nan_stays_nan(fit):
    x = jnp.asarray(X).at[2, 1].set(jnp.nan)
    for weights in (None, jnp.ones(12).at[2].set(0.0)):
        shift, scale = jax.jit(lambda x, w: fit(x, weights=w))(x, weights)
        np.testing.assert_array_equal(np.isnan(shift), [False, True, False])
        np.testing.assert_array_equal(np.isnan(scale), [False, True, False])


def test_min_max_is_numpy():
    params = scaling.min_max(X)
    np.testing.assert_array_equal(params.shift, X.min(0))
    z = scaling.transform(params, X)
    np.testing.assert_array_equal(z.min(0), 0)
    np.testing.assert_array_equal(z.max(0), 1)


@pytest.mark.parametrize("fit", [scaling.standardise, scaling.min_max])
def test_invert_undoes_transform(fit):
    params = fit(X)
    back = scaling.invert(params, scaling.transform(params, X))
    np.testing.assert_allclose(back, X, rtol=1e-5, atol=1e-6)


def test_vmap_over_folds():
    folds = jnp.asarray(RANDOM.random((4, 12)) < 0.7, jnp.float32)
    many = jax.vmap(lambda w: scaling.standardise(X, weights=w))(folds)
    one = [scaling.standardise(X, weights=w) for w in folds]
    chex.assert_trees_all_close(
        many, jax.tree.map(lambda *a: jnp.stack(a), *one), rtol=1e-6
    )


def test_one_hot():
    y = np.array([2, 0, 1, 2])
    np.testing.assert_array_equal(scaling.one_hot(y, k=3), np.eye(3)[y])
    bad = jax.jit(lambda y: scaling.one_hot(y, k=3))(jnp.array([0, 3, -1]))
    np.testing.assert_array_equal(np.isnan(bad).all(1), [False, True, True])


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint64, bool])
def test_labels_of_any_kind(kind):
    """0.0 and 1.0 are labels, as they are to logistic.fit."""
    y = np.array([0, 1, 1]).astype(kind)
    np.testing.assert_array_equal(scaling.one_hot(y, k=2), np.eye(2)[[0, 1, 1]])


@pytest.mark.parametrize("label", [2**32 + 5, 3_000_000_001, 0.5])
def test_labels_are_looked_at_before_they_could_wrap(label):
    wrong = rf"^y (holds the label|must hold integer labels, not) {label}"
    with pytest.raises(ValueError, match=wrong):
        scaling.one_hot(np.array([label, 1]), k=9)


def labels(sizes):
    return RANDOM.permutation(np.repeat(np.arange(len(sizes)), sizes))


@pytest.mark.parametrize(
    ("sizes", "held_out"),
    [
        ((4, 4, 4), 4),
        ((50, 30, 20), 10),
        ((1000, *[1] * 20), 500),  # a threshold on ranks within a class is 10 off
        ((0, 5, 0, 6), 1),
    ],
)
def test_split_is_stratified(sizes, held_out):
    y, m = labels(sizes), sum(sizes)
    keys = jax.random.split(jax.random.key(1), 20)
    cut = jax.jit(lambda key: scaling.split(key, y, test_size=held_out))
    many = jax.jit(jax.vmap(cut))(keys)
    assert many.train.shape == (20, m - held_out)
    assert many.test.shape == (20, held_out)
    rows = np.sort(np.concatenate([many.train, many.test], axis=1))
    np.testing.assert_array_equal(rows, np.tile(np.arange(m), (20, 1)))
    counts = np.array([np.bincount(y[t], minlength=len(sizes)) for t in many.test])
    share = np.array(sizes) * held_out / m
    assert (np.abs(counts - share) < 1).all()
    chex.assert_trees_all_equal(cut(keys[3]), jax.tree.map(lambda a: a[3], many))


def test_split_holds_out_every_row_equally_often():
    y = labels((11, 6, 3))
    keys = jax.random.split(jax.random.key(2), 4000)
    test = jax.jit(jax.vmap(lambda key: scaling.split(key, y, test_size=7).test))(keys)
    often = np.bincount(np.ravel(test), minlength=20) / 4000
    # 4000 draws with p = 0.35: the standard error is 0.0075; 20 rows, so 4 of them.
    np.testing.assert_allclose(often, 7 / 20, atol=0.03)
    first = np.bincount(np.ravel(test[:, 0]), minlength=20) / 4000
    np.testing.assert_allclose(first, 1 / 20, atol=0.014)


def test_split_in_order_is_random():
    y = np.zeros(100, int)
    parts = scaling.split(jax.random.key(3), y, test_size=50)
    for rows in parts:
        assert abs(np.corrcoef(np.arange(50), rows)[0, 1]) < 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scaling.standardise(X[0]), r"^x has shape \(3,\), not \(m, n\)"),
        (
            lambda: scaling.standardise(X, weights=np.ones(3)),
            r"^weights has shape \(3,\)",
        ),
        (lambda: scaling.standardise(X, ddof=-1), r"^ddof must be at least 0"),
        (lambda: scaling.min_max(X * np.inf), r"^x holds 36 non-finite"),
        (
            lambda: scaling.transform(SAMPLES["params"], X[:, :2]),
            r"^params.shift has shape \(3,\), not \(n,\) where m = 12, n = 2",
        ),
        (
            lambda: scaling.invert(SAMPLES["params"], X[:, :2]),
            r"^params.shift has shape",
        ),
        (lambda: scaling.one_hot(np.array([0, 3]), k=3), r"^y holds the label 3"),
        (lambda: split(test_size=12), r"^test_size must be below m = 12, not 12"),
        (lambda: split(test_size=0), r"^test_size must be at least 1"),
        (lambda: split(test_size=0.3), r"^test_size must be a Python int"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def split(test_size):
    y = np.arange(12) % 3
    return scaling.split(jax.random.key(0), y, test_size=test_size)
