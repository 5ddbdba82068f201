"""Metrics against scikit-learn, against counting, and against their own invariants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as oracle

from jaxml.evaluate import metrics

K = 3
SAMPLES = {
    "k": K,
    "predicted": jnp.array([0, 1, 2, 0, 2, 2, 0, 1, 1, 0, 1, 2]),
    "probabilities": jnp.tile(jnp.array([0.2, 0.5, 0.3]), (12, 1)),
    "auc.score": jnp.arange(12.0) % 5,
    "auc.y": jnp.array([0, 1] * 6),
    "threshold.score": jnp.arange(12.0) * 5 % 12,
    "threshold.y": jnp.array([0, 1] * 6),
    "rmse.y": jnp.arange(12.0) / 3,
    "rmse.predicted": jnp.arange(12.0)[::-1] / 4,
    "mae.y": jnp.arange(12.0) / 3,
    "mae.predicted": jnp.arange(12.0)[::-1] / 4,
    "r2.y": jnp.arange(12.0) / 3,
    "r2.predicted": jnp.arange(12.0)[::-1] / 4,
}
ROUGH = {"auc": "a rank jumps where two scores meet"}
M = 40
RANDOM = np.random.default_rng(0)
Y = RANDOM.integers(0, K, M)
PREDICTED = np.where(RANDOM.random(M) < 0.6, Y, RANDOM.integers(0, K, M))
PROBABILITIES = RANDOM.dirichlet(np.ones(K), M).astype(np.float32)
SCORE = (RANDOM.integers(0, 9, M) / 4 + (Y == 1)).astype(np.float32)  # many ties
TARGETS = RANDOM.normal(3, 2, M).astype(np.float32)
GUESSES = (TARGETS + RANDOM.normal(0, 1, M)).astype(np.float32)
COUNTS = RANDOM.integers(0, 4, M)
WEIGHTS = [None, RANDOM.random(M).astype(np.float32), COUNTS]

# name: (ours, data, scikit-learn's)
PAIRS = {
    "accuracy": (metrics.accuracy, (Y, PREDICTED), oracle.accuracy_score),
    "confusion": (
        lambda y, p, weights=None: metrics.confusion(y, p, k=K, weights=weights),
        (Y, PREDICTED),
        oracle.confusion_matrix,
    ),
    "precision": (
        lambda y, p, weights=None: metrics.precision(y, p, k=K, weights=weights),
        (Y, PREDICTED),
        lambda *a, **kw: oracle.precision_score(*a, average=None, **kw),
    ),
    "recall": (
        lambda y, p, weights=None: metrics.recall(y, p, k=K, weights=weights),
        (Y, PREDICTED),
        lambda *a, **kw: oracle.recall_score(*a, average=None, **kw),
    ),
    "f1": (
        lambda y, p, weights=None: metrics.f1(y, p, k=K, weights=weights),
        (Y, PREDICTED),
        lambda *a, **kw: oracle.f1_score(*a, average=None, **kw),
    ),
    "log_loss": (metrics.log_loss, (Y, PROBABILITIES), oracle.log_loss),
    "log_loss of two": (
        metrics.log_loss,
        (Y == 1, PROBABILITIES[:, 1]),
        oracle.log_loss,
    ),
    "rmse": (metrics.rmse, (TARGETS, GUESSES), oracle.root_mean_squared_error),
    "r2": (metrics.r2, (TARGETS, GUESSES), oracle.r2_score),
    "auc": (metrics.auc, (Y == 1, SCORE), oracle.roc_auc_score),
}


@pytest.mark.parametrize("weights", WEIGHTS, ids=["unweighted", "real", "counts"])
@pytest.mark.parametrize("name", PAIRS)
def test_agrees_with_sklearn(name, weights):
    ours, data, theirs = PAIRS[name]
    wanted = theirs(*data, sample_weight=weights)
    np.testing.assert_allclose(ours(*data, weights=weights), wanted, rtol=2e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_integer_weights_are_repeated_rows(name):
    ours, data, _ = PAIRS[name]
    repeated = [np.repeat(each, COUNTS, axis=0) for each in data]
    weighted = ours(*data, weights=COUNTS)
    np.testing.assert_allclose(weighted, ours(*repeated), rtol=2e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_jits_and_vmaps_over_weights(name):
    ours, data, _ = PAIRS[name]
    data = jax.tree.map(jnp.asarray, data)
    folds = jnp.asarray(RANDOM.random((3, M)), jnp.float32)
    many = jax.jit(jax.vmap(lambda w: ours(*data, weights=w)))(folds)
    one = jnp.stack([ours(*data, weights=w) for w in folds])
    np.testing.assert_allclose(many, one, rtol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_traced_faults_are_nan(name):
    ours, data, _ = PAIRS[name]
    run = jax.jit(lambda *data, weights=None: ours(*data, weights=weights))
    bad = jnp.ones(M).at[7].set(-1.0)
    assert np.isnan(run(*data, weights=bad)).all()
    for i, each in enumerate(data):
        if np.issubdtype(each.dtype, np.floating):
            spoiled = list(data)
            spoiled[i] = each.copy()
            spoiled[i][(3, 1)[: each.ndim]] = np.nan
            assert np.isnan(run(*spoiled)).all(), f"argument {i}"
            weights = jnp.ones(M)
            assert np.isnan(run(*spoiled, weights=weights)).all(), f"argument {i}"


@pytest.mark.parametrize("name", ["confusion", "f1", "log_loss", "auc"])
@pytest.mark.parametrize("label", [-1, K])
def test_traced_labels_out_of_range_are_nan(name, label):
    ours, data, _ = PAIRS[name]
    y = np.asarray(data[0], np.int32).copy()
    y[5] = label
    assert np.isnan(jax.jit(ours)(y, *data[1:])).any()
    with pytest.raises(ValueError, match=r"^y holds the label"):
        ours(y, *data[1:])


@pytest.mark.parametrize("size", [2.0**-66, 2.0**66])
def test_errors_of_any_unit(size):
    """Their squares would be 0, or infinite, in float32."""
    y, guesses = (np.float32(size) * each for each in (TARGETS, GUESSES))
    exact = y.astype(np.float64), guesses.astype(np.float64)
    wanted = oracle.root_mean_squared_error(*exact)
    np.testing.assert_allclose(metrics.rmse(y, guesses), wanted, rtol=2e-6)
    wanted = oracle.mean_absolute_error(*exact)
    np.testing.assert_allclose(metrics.mae(y, guesses), wanted, rtol=2e-6)
    np.testing.assert_allclose(metrics.r2(y, guesses), oracle.r2_score(*exact), 2e-6)


@pytest.mark.parametrize("size", [2.0**-100, 2.0**126])
@pytest.mark.parametrize("name", PAIRS)
def test_weights_of_any_unit(name, size):
    """The sum of these weights, or a product of two, is no number of float32."""
    ours, data, _ = PAIRS[name]
    weights = WEIGHTS[1] / 2
    wanted = np.asarray(ours(*data, weights=weights), float)
    if name == "confusion":
        size = np.clip(size, 2.0**-100, 2.0**115)
        wanted = wanted * size
    found = ours(*data, weights=np.float32(size) * weights)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("name", ["rmse", "r2", "auc", "log_loss of two"])
def test_rows_of_weight_0_are_not_there(name):
    ours, data, theirs = PAIRS[name]
    gone = np.arange(M) % 3 == 0
    low, high = {"log_loss of two": (0, 1)}.get(name, (-3e38, 3e38))
    wild = [
        np.where(gone, value, each) if each.dtype.kind == "f" else each
        for each, value in zip(data, (low, high), strict=True)
    ]
    found = ours(*wild, weights=1.0 - gone)
    wanted = theirs(*(each[~gone].astype(float) for each in data))
    np.testing.assert_allclose(found, wanted, rtol=2e-6)


def test_errors_of_0_have_no_slope():
    y = jnp.asarray(TARGETS)
    for metric in (metrics.rmse, metrics.mae):
        np.testing.assert_array_equal(jax.grad(metric)(y, y), 0)


def test_a_threshold_is_no_row_of_weight_0():
    y, score = np.array([1, 0, 0, 1]), np.array([4.0, 3.0, 1.0, 2.0])
    found = metrics.f1_threshold(y, score, weights=[1, 0, 1, 1])
    assert (found.value, found.f1) == (2, 1)
    found = metrics.f1_threshold(y, np.array([4.0, 1, 1, 0]), weights=[0, 0, 1, 1])
    assert found.value == 0


def test_auc_counts_pairs():
    weights = WEIGHTS[1]
    i, j = np.flatnonzero(Y == 1), np.flatnonzero(Y != 1)
    pairs = np.outer(weights[i], weights[j])
    above = SCORE[i][:, None] > SCORE[j][None, :]
    level = SCORE[i][:, None] == SCORE[j][None, :]
    assert level.sum() > 10
    wanted = (pairs * (above + level / 2)).sum() / pairs.sum()
    result = metrics.auc(Y == 1, SCORE, weights=weights)
    np.testing.assert_allclose(result, wanted, rtol=1e-6)


def test_auc_of_special_orders():
    y = np.array([0, 0, 1, 1])
    assert metrics.auc(y, [1.0, 2.0, 3.0, 4.0]) == 1
    assert metrics.auc(y, [4.0, 3.0, 2.0, 1.0]) == 0
    assert metrics.auc(y, np.ones(4)) == 0.5
    assert metrics.auc(y, np.array([0.0, -0.0, 0.0, -0.0])) == 0.5
    assert np.isnan(metrics.auc(np.zeros(4, int), np.arange(4.0)))


def test_undefined_is_nan():
    y, predicted = np.array([0, 0, 1]), np.array([0, 0, 0])
    for metric, wanted in (
        (metrics.precision, [2 / 3, np.nan, np.nan]),
        (metrics.recall, [1, 0, np.nan]),
        (metrics.f1, [0.8, 0, np.nan]),
    ):
        np.testing.assert_allclose(metric(y, predicted, k=3), wanted, rtol=1e-6)
    assert np.isnan(metrics.r2(np.full(7, 0.1), np.arange(7.0)))


def test_r2_survives_a_large_mean():
    y = 1e4 + TARGETS
    wanted = oracle.r2_score(y.astype(np.float64), (1e4 + GUESSES).astype(np.float64))
    np.testing.assert_allclose(metrics.r2(y, 1e4 + GUESSES), wanted, rtol=1e-3)


def test_log_loss_of_certainty():
    y = np.array([1, 0, 1])
    assert metrics.log_loss(y, np.array([1.0, 0.0, 1.0])) == 0
    assert metrics.log_loss(y, np.array([1.0, 0.0, 0.0])) == np.inf
    assert metrics.log_loss(y, np.array([1.0, 0.0, 0.0]), weights=[1, 1, 0]) == 0
    small = np.array([1.0, 1e-12, 1.0], np.float32)
    np.testing.assert_allclose(metrics.log_loss(y, small), 1e-12 / 3, rtol=1e-6)


def test_log_loss_has_a_gradient():
    p = jnp.array([0.8, 0.3, 0.0])
    weights = jnp.array([1.0, 1.0, 0.0])
    slope = jax.grad(
        lambda p: metrics.log_loss(jnp.array([1, 0, 1]), p, weights=weights)
    )(p)
    np.testing.assert_allclose(slope, [-1 / 1.6, 1 / 1.4, 0], rtol=1e-6)


def test_one_wrong_probability_is_nan():
    bad = PROBABILITIES.copy()
    bad[4] = [1.5, -0.25, -0.25]
    assert np.isnan(jax.jit(metrics.log_loss)(Y, bad))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy(Y, PREDICTED[:-1]), r"^predicted has shape \(39,\)"),
        (lambda: metrics.accuracy(Y, PREDICTED / 2), r"^predicted must hold integer"),
        (
            lambda: metrics.accuracy(np.array([2**32]), np.array([0])),
            r"^y holds the label 4294967296",
        ),
        (lambda: metrics.confusion(Y, PREDICTED, k=2), r"^y holds the label 2"),
        (lambda: metrics.confusion(Y, PREDICTED, k=0), r"^k must be at least 1"),
        (lambda: metrics.log_loss(Y, PROBABILITIES[:, :2]), r"^y holds the label 2"),
        (lambda: metrics.rmse(TARGETS, GUESSES[:, None]), r"^predicted has shape"),
        (lambda: metrics.rmse(TARGETS * np.nan, GUESSES), r"^y holds 40 non-finite"),
        (lambda: metrics.auc(Y, SCORE), r"^y holds the label 2"),
        (lambda: metrics.auc(Y == 1, SCORE, weights=-SCORE), r"^weights must lie"),
        (
            lambda: metrics.auc(Y == 1, SCORE, weights=0 * SCORE),
            r"^weights are all zero",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_threshold_is_the_best_of_all():
    """Brute force, with scores that are equal and with weights."""
    y, score = RANDOM.integers(0, 2, 30), RANDOM.integers(0, 8, 30).astype(np.float32)
    for weights in (np.ones(30), RANDOM.integers(1, 4, 30)):
        found = metrics.f1_threshold(y, score, weights=weights)
        rows = np.repeat(np.arange(30), weights.astype(int))
        scores = [oracle.f1_score(y[rows], score[rows] >= s) for s in score]
        np.testing.assert_allclose(found.f1, max(scores), rtol=1e-6)
        best = max(s for s, f in zip(score, scores) if f > max(scores) - 1e-9)
        assert found.value == best
    assert np.isnan(metrics.f1_threshold(np.zeros(3, int), np.arange(3.0)).f1)
