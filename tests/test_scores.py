"""Scores of folds against scikit-learn, closed forms and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import linear_model, pipeline, preprocessing
from sklearn import model_selection as oracle

from jaxml import Fit, Status, _check
from jaxml._check import Labels, NonNegative, Rows, Targets, Weights
from jaxml.data import scaling
from jaxml.evaluate import metrics, selection
from jaxml.regression import linear, logistic
from jaxml.regression import ridge as library
from tests.test_folds import folds_of

M, N, K, G = 60, 4, 5, 20
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(1, [1, 3, 0.2, 10], (M, N))
Y = X @ [1, 0.2, 3, 0.01] + RANDOM.normal(0, 1.5, M)
LABELS = RANDOM.integers(0, 3, M)
L2 = np.geomspace(10, 1e-3, G)
KEY = jax.random.key(0)


@_check.fit
def ridge(x: Rows, y: Targets, *, l2: NonNegative, weights: Weights | None = None):
    """½ Σ w (x·v + b - y)² / Σ w + ½ l2 |v|², solved by its normal equations."""
    w = weights / weights.sum()
    mean_x, mean_y = w @ x, w @ y
    z = x - mean_x[None]
    gram = jnp.matmul(z.T * w[None], z, precision="highest")
    gram = gram + l2 * jnp.eye(x.shape[1], dtype=x.dtype)
    v = jnp.linalg.solve(gram, z.T @ (w * (y - mean_y)))
    params = v, mean_y - mean_x @ v
    cost = mean_squares(params, x, y, weights=weights) + l2 / 2 * v @ v
    fine = jnp.isfinite(cost) & (l2 < 1e6)  # a limit, so that fits can fail
    status = jnp.where(fine, Status.CONVERGED, Status.SINGULAR).astype(jnp.int32)
    zero = jnp.zeros_like(cost)
    return Fit(params, cost, zero, jnp.int32(0), status, zero[None])


def predict(params, x):
    v, b = params
    return x @ v + b


def mean_squares(params, x, y, *, weights):
    return jnp.sum(weights * (predict(params, x) - y) ** 2) / jnp.sum(weights) / 2


def r2(params, x, y, *, weights):
    return metrics.r2(y, predict(params, x), weights=weights)


def test_metrics_are_scores():
    """Of held-out rows, as predictions and a metric give them by hand."""
    y = (X[:, 0] > 0).astype(int)
    folds = selection.k_fold(jax.random.key(0), m=len(X), folds=3)
    score = selection.scorer(logistic.predict, metrics.accuracy)
    assert score == selection.scorer(logistic.predict, metrics.accuracy)
    fit = functools.partial(logistic.fit, l2=0.1)
    found = selection.cross_validate(fit, score, X, y, folds=folds)
    for i, (train, test) in enumerate(zip(*folds)):
        params = fit(X, y, weights=train.astype(float)).params
        right = np.asarray(logistic.predict(params, X) == y)
        np.testing.assert_allclose(found.test[i], right[np.asarray(test)].mean())


@_check.fit
def scaled_ridge(
    x: Rows, y: Targets, *, l2: NonNegative, weights: Weights | None = None
):
    scale = scaling.standardise(x, weights=weights, ddof=0)
    found = ridge(scaling.transform(scale, x), y, l2=l2, weights=weights)
    return found._replace(params=(scale, found.params))


def scaled_r2(params, x, y, *, weights):
    scale, inner = params
    return r2(inner, scaling.transform(scale, x), y, weights=weights)


FOLDS = folds_of(oracle.KFold(K), X)
SAMPLES = {
    "fit": ridge,
    "score": r2,
    "predict": predict,
    "x": RANDOM.normal(size=(12, 3)),
    "y": RANDOM.normal(size=12),
    "folds": selection.k_fold(KEY, m=12, folds=3),
    "outer": selection.k_fold(KEY, m=12, folds=3),
    "inner": selection.k_fold(jax.random.key(1), m=12, folds=2),
    "grid": {"l2": np.array([1.0, 0.1])},
    "name": "l2",
    "values": (1.0, 0.1),
    "shares": (0.5, 0.9),
    "hyper": {"l2": 0.3},
}


# --- cross-validation ----------------------------------------------------------------


def theirs(model, l2, folds=FOLDS, scoring="r2", weights=None):
    """scikit-learn's scores, (f,): its alpha is l2 · (rows learned from)."""
    scores = []
    w = np.ones(len(Y)) if weights is None else weights
    for train, test in zip(*map(np.asarray, folds), strict=True):
        model.set_params(**{"ridge__alpha": l2 * w[train].sum()})
        model.fit(X[train], Y[train], ridge__sample_weight=w[train])
        scores.append(model.score(X[test], Y[test], sample_weight=w[test]))
    return scores


def plain():
    return pipeline.Pipeline([("ridge", linear_model.Ridge())])


def scaled():
    scale = preprocessing.StandardScaler()
    return pipeline.Pipeline([("scale", scale), ("ridge", linear_model.Ridge())])


@pytest.mark.parametrize("weights", [None, RANDOM.random(M)], ids=["", "weighted"])
def test_agrees_with_sklearn(x64, weights):
    scores = selection.cross_validate(
        ridge, r2, X, Y, folds=FOLDS, grid={"l2": L2}, weights=weights
    )
    assert scores.train.shape == scores.test.shape == scores.status.shape == (K, G)
    assert (scores.status == Status.CONVERGED).all()
    for i in (0, 7, G - 1):
        np.testing.assert_allclose(
            scores.test[:, i], theirs(plain(), L2[i], weights=weights), rtol=1e-9
        )
    np.testing.assert_allclose(scores.mean, scores.test.mean(axis=0), rtol=1e-12)
    error = np.std(scores.test, axis=0, ddof=1) / np.sqrt(K)
    np.testing.assert_allclose(scores.error, error, rtol=1e-10)
    assert scores.best == np.argmax(scores.mean)


def test_agrees_with_cross_val_score(x64):
    """Of folds of one size alpha = l2 · 48 in all of them."""
    scores = selection.cross_validate(
        ridge, r2, X, Y, folds=FOLDS, grid={"l2": L2[5:6]}
    )
    model = linear_model.Ridge(alpha=L2[5] * 48)
    wanted = oracle.cross_validate(model, X, Y, cv=K, return_train_score=True)
    np.testing.assert_allclose(scores.test[:, 0], wanted["test_score"], rtol=1e-9)
    np.testing.assert_allclose(scores.train[:, 0], wanted["train_score"], rtol=1e-9)


@pytest.mark.long
def test_what_the_fit_does_before_does_not_leak(x64):
    """Scales are those of the training rows, as in scikit-learn's Pipeline."""
    point = {"l2": L2[8:9]}
    scores = selection.cross_validate(
        scaled_ridge, scaled_r2, X, Y, folds=FOLDS, grid=point
    )
    wanted = theirs(scaled(), L2[8])
    np.testing.assert_allclose(scores.test[:, 0], wanted, rtol=1e-9)
    # What is held out may be changed at will: the training scores stay.
    spoiled = X.copy()
    spoiled[np.asarray(FOLDS.test[0])] *= 1e3
    one = jax.tree.map(lambda a: a[:1], FOLDS)
    after = selection.cross_validate(
        scaled_ridge, scaled_r2, spoiled, Y, folds=one, grid=point
    )
    np.testing.assert_allclose(after.train[0], scores.train[0], rtol=1e-12)
    assert abs(after.test[0, 0] - scores.test[0, 0]) > 1


def test_one_trace_for_all():
    """100 fits in one trace; values, weights and labels add none."""
    x, y = X.astype(np.float32), Y.astype(np.float32)
    before = ridge.traces
    for scale in (1.0, 2.0, 3.0):
        folds = selection.k_fold(jax.random.key(int(scale)), m=M, folds=K)
        scores = selection.cross_validate(
            ridge,
            r2,
            x * scale,
            y + scale,
            folds=folds,
            grid={"l2": L2 * scale},
            weights=np.full(M, scale, np.float32),
        )
        assert scores.test.shape == (5, 20)
    assert ridge.traces == before + 1


def infinite_or_nan(params, x, y, *, weights):
    """A cost that is NaN for the strongest penalty, and infinite for the others."""
    return jnp.where(jnp.abs(params[0]).sum() < 1e-3, jnp.nan, jnp.inf)


def test_nan_does_not_win():
    """Not even against a cost of infinity, the worst there is."""
    grid = {"l2": np.array([1e5, 1.0])}
    scores = selection.cross_validate(
        ridge, infinite_or_nan, X, Y, folds=FOLDS, grid=grid, greater_is_better=False
    )
    assert np.isnan(scores.mean[0])
    assert scores.best == scores.one_standard_error == 1


def test_leave_one_out_of_200_is_one_trace(x64):
    x, y = RANDOM.normal(size=(200, N)), RANDOM.normal(size=200)
    folds = selection.leave_one_out(200)
    before = ridge.traces
    every = [
        selection.cross_validate(
            ridge,
            mean_squares,
            x,
            y,
            folds=folds,
            grid={"l2": [0.0]},
            greater_is_better=False,
            chunk=chunk,
        )
        for chunk in (None, 64, 7)
    ]
    assert ridge.traces == before + 1
    # Allen's PRESS: the residual left out is r / (1 - leverage).
    a = np.column_stack([x, np.ones(200)])
    hat = a @ np.linalg.pinv(a)
    press = ((y - hat @ y) / (1 - np.diag(hat))) ** 2 / 2
    for scores in every:
        np.testing.assert_allclose(scores.test[:, 0], press, rtol=1e-9)
        np.testing.assert_allclose(scores.mean[0], press.mean(), rtol=1e-10)


@pytest.mark.long
def test_chunks_need_less_memory():
    """Compiled for 200 folds of 200 rows at once, and for 10 at a time."""
    from jaxml.evaluate.selection._scores import _cross_validate

    x, y = jnp.ones((200, N)), jnp.ones(200)
    train, test = (f.astype(jnp.float32) for f in selection.leave_one_out(200))
    points = {"l2": jnp.ones(4)}
    sizes = [
        _cross_validate.lower(ridge, r2, chunk, x, y, train, test, points)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for chunk in (None, 10)
    ]
    assert sizes[1] < sizes[0] / 5


@pytest.mark.long
def test_a_partial_is_compiled_once():
    before = ridge.traces
    for _ in range(3):
        fit = functools.partial(_penalised, power=2)
        selection.cross_validate(fit, r2, X, Y, folds=FOLDS, grid={"l2": L2[:3]})
    assert ridge.traces <= before + 1


def _penalised(x, y, *, l2, weights, power):
    return ridge(x, y, l2=l2**power, weights=weights)


@pytest.mark.long
def test_without_a_grid():
    fit = functools.partial(_fixed, l2=0.5)
    scores = selection.cross_validate(fit, r2, X, Y, folds=FOLDS)
    gridded = selection.cross_validate(ridge, r2, X, Y, folds=FOLDS, grid={"l2": [0.5]})
    assert scores.test.shape == (K, 1)
    np.testing.assert_allclose(scores.test, gridded.test, rtol=1e-5)


def _fixed(x, y, *, weights, l2):
    return ridge(x, y, l2=l2, weights=weights)


@pytest.mark.long
def test_one_standard_error_rule(x64):
    scores = selection.cross_validate(
        ridge, mean_squares, X, Y, folds=FOLDS, grid={"l2": L2}, greater_is_better=False
    )
    mean, error = np.asarray(scores.mean), np.asarray(scores.error)
    best = mean.argmin()
    assert scores.best == best
    one_standard_error = np.flatnonzero(mean <= mean[best] + error[best])[0]
    assert scores.one_standard_error == one_standard_error
    assert one_standard_error < best
    one = jax.tree.map(lambda a: a[:1], FOLDS)
    single = selection.cross_validate(
        ridge, mean_squares, X, Y, folds=one, grid={"l2": L2}, greater_is_better=False
    )
    assert np.isnan(single.error).all()
    assert single.one_standard_error == single.best == np.argmin(single.test[0])


def test_failed_fits_are_not_chosen():
    points = {"l2": [1e7, 1.0, 1e8, 0.1]}
    scores = selection.cross_validate(ridge, r2, X, Y, folds=FOLDS, grid=points)
    failed = np.array([True, False, True, False])
    assert (scores.status[:, failed] == Status.SINGULAR).all()
    assert (scores.status[:, ~failed] == Status.CONVERGED).all()
    for each in (scores.train, scores.test):
        np.testing.assert_array_equal(np.isnan(each), np.tile(failed, (K, 1)))
    np.testing.assert_array_equal(np.isnan(scores.mean), failed)
    assert scores.best in (1, 3)
    assert scores.one_standard_error in (1, 3)
    none = selection.cross_validate(ridge, r2, X, Y, folds=FOLDS, grid={"l2": [1e7]})
    assert none.best == 0
    assert np.isnan(none.mean[0])


def test_exhausted_fits_count():
    scores = selection.cross_validate(_slow, r2, X, Y, folds=FOLDS, grid={"l2": [0.1]})
    assert (scores.status == Status.EXHAUSTED).all()
    assert np.isfinite(scores.mean).all()


def _slow(x, y, *, weights, l2):
    found = ridge(x, y, l2=l2, weights=weights)
    return found._replace(status=jnp.full_like(found.status, Status.EXHAUSTED))


@pytest.mark.long
def test_rows_of_weight_0_are_absent(x64):
    """Folds that hold out only such rows are left out of the mean."""
    weights = np.ones(M)
    weights[50:] = 0
    padded = selection.cross_validate(
        ridge,
        mean_squares,
        X,
        Y,
        folds=selection.leave_one_out(M),
        grid={"l2": L2},
        weights=weights,
        greater_is_better=False,
    )
    short = selection.cross_validate(
        ridge,
        mean_squares,
        X[:50],
        Y[:50],
        folds=selection.leave_one_out(50),
        grid={"l2": L2},
        greater_is_better=False,
    )
    np.testing.assert_allclose(padded.test[:50], short.test, rtol=1e-9)
    assert np.isnan(padded.test[50:]).all()
    np.testing.assert_allclose(padded.mean, short.mean, rtol=1e-9)
    np.testing.assert_allclose(padded.error, short.error, rtol=1e-9)
    assert padded.best == short.best

    def mean(weights):
        folds = selection.leave_one_out(M)
        return selection.cross_validate(
            ridge, mean_squares, X, Y, folds=folds, grid={"l2": L2}, weights=weights
        ).mean[3]

    assert np.isfinite(jax.grad(mean)(weights)).all()


@pytest.mark.long
def test_folds_may_be_weights(x64):
    """Half the weight everywhere is the same; so are masks as floats."""
    halves = jax.tree.map(lambda a: 0.5 * a, FOLDS)
    point = {"l2": L2[:3]}
    scores = [
        selection.cross_validate(ridge, r2, X, Y, folds=f, grid=point)
        for f in (FOLDS, halves)
    ]
    np.testing.assert_allclose(scores[1].test, scores[0].test, rtol=1e-10)


def test_labels_are_handed_on():
    @_check.fit
    def majority(x: Rows, y: Labels, *, weights: Weights | None = None):
        shares = weights @ scaling.one_hot(y, k=3)
        status, zero = jnp.int32(0), jnp.zeros(())
        return Fit(jnp.argmax(shares), zero, zero, status, status, zero[None])

    def accuracy(params, x, y, *, weights):
        return metrics.accuracy(y, jnp.full_like(y, params), weights=weights)

    scores = selection.cross_validate(majority, accuracy, X, LABELS, folds=FOLDS)
    for i, (train, test) in enumerate(zip(*FOLDS, strict=True)):
        most = np.bincount(LABELS[train]).argmax()
        np.testing.assert_allclose(scores.test[i, 0], np.mean(LABELS[test] == most))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": FOLDS.test}, r"folds must be a .*Folds\(train, test\), not a"),
        (
            {"folds": selection.leave_one_out(7)},
            r"folds.train has shape \(7, 7\), not \(f, m\) where m = 60",
        ),
        ({"y": (Y, Y)}, "y must be an array, not a tuple"),
        ({"y": Y[:-1]}, r"y has shape \(59,\), not \(m,\) or \(m, t\)"),
        ({"y": np.where(Y > 0, Y, np.nan)}, "y holds"),
        ({"x": np.where(X > 0, X, np.nan)}, "x holds"),
        ({"grid": {"l2": [1.0, -1.0]}}, r"l2 must lie in \[0, inf\); the entry 1"),
        ({"grid": {"l2": None}}, "l2 must be an array, not None"),
        ({"grid": [1.0]}, "grid must be a dict of arrays"),
        ({"grid": {"l2": 1.0}}, "grid holds a single l2"),
        (
            {"grid": {"l2": [1.0], "b": [1.0, 2.0]}},
            "grid must hold values of equal length",
        ),
        ({"fit": "ridge"}, "fit must be a function, not 'ridge'"),
        ({"score": None}, "score must be a function, not None"),
        ({"fit": lambda x, y, *, weights, l2: l2}, "fit must return a Fit"),
        ({"score": lambda *a, weights: weights}, "score must return a real scalar, "),
        ({"chunk": 0}, "chunk must be at least 1"),
    ],
)
def test_bad_arguments(change, message):
    given = {"fit": ridge, "score": r2, "x": X, "y": Y, "folds": FOLDS}
    given |= {"grid": {"l2": L2[:3]}, "chunk": None} | change
    data = [given.pop(name) for name in ("fit", "score", "x", "y")]
    with pytest.raises(ValueError, match=f"^{message}"):
        selection.cross_validate(*data, **given)


def test_functions_and_names_that_are_none():
    options = {"folds": FOLDS, "l2": 0.1}
    with pytest.raises(ValueError, match="^predict must return an array, not None"):
        selection.out_of_fold(ridge, lambda params, x: None, X, Y, **options)
    with pytest.raises(ValueError, match="^fit must return a Fit, not NoneType"):
        selection.out_of_fold(lambda *a, **more: None, r2, X, Y, **options)
    for name in ("l3", 1.5, None):
        with pytest.raises(
            ValueError, match="^name must be that of an argument of fit"
        ):
            selection.validation_curve(
                ridge, r2, X, Y, folds=FOLDS, name=name, values=L2[:2]
            )


# --- curves --------------------------------------------------------------------------


@pytest.mark.long
def test_validation_curve_agrees_with_sklearn(x64):
    curve = selection.validation_curve(
        ridge, r2, X, Y, folds=FOLDS, name="l2", values=L2
    )
    train, test = oracle.validation_curve(
        linear_model.Ridge(), X, Y, param_name="alpha", param_range=48 * L2, cv=K
    )
    np.testing.assert_array_equal(curve.at, L2)
    np.testing.assert_allclose(curve.train, train.T, rtol=1e-9)
    np.testing.assert_allclose(curve.test, test.T, rtol=1e-9)


def test_learning_curve_agrees_with_sklearn(x64):
    """Of the same rows: those that scikit-learn takes, in the order of our key."""
    shares = np.array([0.25, 0.5, 1.0])
    curve = selection.learning_curve(
        KEY, ridge, r2, X, Y, folds=FOLDS, shares=shares, l2=0.3
    )
    order = np.asarray(jax.random.permutation(KEY, M))
    splits = [
        (order[np.asarray(train)[order]], np.flatnonzero(test))
        for train, test in zip(*FOLDS, strict=True)
    ]
    np.testing.assert_array_equal(curve.at, [12, 24, 48])
    for i, rows in enumerate((12, 24, 48)):
        _, train, test = oracle.learning_curve(
            linear_model.Ridge(alpha=0.3 * rows), X, Y, train_sizes=[rows], cv=splits
        )
        np.testing.assert_allclose(curve.train[:, i], train[0], rtol=1e-9)
        np.testing.assert_allclose(curve.test[:, i], test[0], rtol=1e-9)


@pytest.mark.long
def test_learning_curve_counts_rows_that_are_there():
    weights = np.ones(M)
    weights[:30] = 0
    before = ridge.traces
    for shares in ([0.5, 1.0], [0.01, 0.75]):
        curve = selection.learning_curve(
            KEY, ridge, r2, X, Y, folds=FOLDS, shares=shares, weights=weights, l2=0.3
        )
        there = (np.asarray(FOLDS.train) & (weights > 0)[None]).sum(axis=1)
        rows = np.maximum(1, np.round(np.outer(there, shares)))
        np.testing.assert_allclose(curve.at, rows.mean(axis=0), rtol=1e-6)
    assert ridge.traces <= before + 1
    for wrong, message in {
        0.5: r"shares holds a single shares",
        ((0.5,), (1.0,)): r"shares has shape \(2, 1\), not \(g,\)",
    }.items():
        with pytest.raises(ValueError, match=f"^{message}"):
            selection.learning_curve(
                KEY, ridge, r2, X, Y, folds=FOLDS, shares=np.array(wrong), l2=0.3
            )
    with pytest.raises(ValueError, match=r"^shares must lie in \(0, 1\], not 1.5"):
        selection.learning_curve(
            KEY, ridge, r2, X, Y, folds=FOLDS, shares=[0.5, 1.5], l2=0.3
        )

    @jax.jit
    def traced(shares):
        return selection.learning_curve(
            KEY, ridge, r2, X, Y, folds=FOLDS, shares=shares, l2=0.3
        )

    curve = traced(jnp.array([0.5, 1.5, 0.0]))
    np.testing.assert_array_equal(np.isnan(curve.test[0]), [False, True, True])


# --- nested, out of fold -------------------------------------------------------------


@pytest.mark.long
def test_nested_by_hand(x64):
    inner = selection.k_fold(jax.random.key(3), m=M, folds=4)
    found = selection.nested(
        ridge, r2, X, Y, outer=FOLDS, inner=inner, grid={"l2": L2}, chunk=2
    )
    for i, (train, test) in enumerate(zip(*map(np.asarray, FOLDS), strict=True)):
        means = selection.cross_validate(
            ridge,
            r2,
            X[train],
            Y[train],
            folds=jax.tree.map(lambda a, train=train: a[:, train], inner),
            grid={"l2": L2},
        )
        np.testing.assert_allclose(found.inner[i], means.mean, rtol=1e-9)
        assert found.chosen[i] == means.best
        model = linear_model.Ridge(alpha=L2[int(means.best)] * 48)
        wanted = model.fit(X[train], Y[train]).score(X[test], Y[test])
        np.testing.assert_allclose(found.test[i], wanted, rtol=1e-9)
    assert (found.status == Status.CONVERGED).all()
    np.testing.assert_allclose(found.mean, np.mean(found.test), rtol=1e-12)


@pytest.mark.long
def test_nested_of_failures():
    found = selection.nested(
        ridge, r2, X, Y, outer=FOLDS, inner=FOLDS, grid={"l2": [1e7, 1e8]}
    )
    assert np.isnan(found.test).all()
    assert np.isnan(found.mean)


def test_out_of_fold_agrees_with_cross_val_predict(x64):
    predicted = selection.out_of_fold(ridge, predict, X, Y, folds=FOLDS, l2=0.3)
    model = linear_model.Ridge(alpha=0.3 * 48)
    wanted = oracle.cross_val_predict(model, X, Y, cv=K)
    np.testing.assert_allclose(predicted, wanted, rtol=1e-9)
    first = jax.tree.map(lambda a: a[:1], FOLDS)
    one = selection.out_of_fold(ridge, predict, X, Y, folds=first, l2=0.3)
    np.testing.assert_array_equal(np.isnan(one), ~np.asarray(FOLDS.test[0]))
    np.testing.assert_allclose(one[FOLDS.test[0]], wanted[FOLDS.test[0]], rtol=1e-9)
    failed = selection.out_of_fold(ridge, predict, X, Y, folds=FOLDS, l2=1e7)
    assert np.isnan(failed).all()


def mean_cost(l2):
    return selection.cross_validate(
        ridge, mean_squares, X, Y, folds=FOLDS, grid={"l2": jnp.array([l2])}
    ).mean[0]


@pytest.mark.long
def test_the_derivative_of_cross_validation(x64):
    slope = jax.grad(mean_cost)(0.2)
    step = 1e-5
    numeric = (mean_cost(0.2 + step) - mean_cost(0.2 - step)) / (2 * step)
    np.testing.assert_allclose(slope, numeric, rtol=1e-7)


# --- with the models of the library --------------------------------------------------

BINARY = (np.random.default_rng(0).normal(size=M) < Y - Y.mean()).astype(int)


SPLITS = list(oracle.KFold(K).split(X))


def _precise(x, y, *, weights, l2):
    return logistic.fit(x, y, weights=weights, l2=l2, tol=1e-12)


def accuracy(params, x, y, *, weights):
    return metrics.accuracy(y, logistic.predict(params, x), weights=weights)


def test_ridge_of_the_library(x64):
    ours, theirs = (
        selection.cross_validate(
            fit, cost, X, Y, folds=FOLDS, grid={"l2": L2}, greater_is_better=False
        )
        for fit, cost in ((library.fit, linear.cost), (ridge, mean_squares))
    )
    np.testing.assert_allclose(ours.test, theirs.test, rtol=1e-9)
    assert ours.best == theirs.best


@pytest.mark.long
def test_logistic_of_the_library(x64):
    """100 fits in one trace; scores as those of scikit-learn's C = 1/(48 l2)."""
    before = logistic.fit.traces
    fit = functools.partial(logistic.fit, intercept=True)
    for score, greater, name in (
        (logistic.cost, False, "neg_log_loss"),
        (accuracy, True, "accuracy"),
    ):
        scores = selection.cross_validate(
            fit,
            score,
            X,
            BINARY,
            folds=FOLDS,
            grid={"l2": L2},
            greater_is_better=greater,
        )
        assert (scores.status == Status.CONVERGED).all()
        for i in (4, 12):
            model = linear_model.LogisticRegression(C=1 / 48 / L2[i], tol=1e-10)
            wanted = oracle.cross_val_score(model, X, BINARY, cv=SPLITS, scoring=name)
            wanted = wanted if greater else -wanted
            np.testing.assert_allclose(scores.test[:, i], wanted, rtol=1e-3)
    assert logistic.fit.traces == before + 1


@pytest.mark.parametrize(
    ("fit", "cost", "y"),
    [
        pytest.param(library.fit, linear.cost, Y, id="ridge"),
        pytest.param(
            _precise, logistic.cost, BINARY, id="logistic", marks=pytest.mark.long
        ),
    ],
)
def test_derivatives_of_the_library(x64, fit, cost, y):
    def mean(l2):
        return selection.cross_validate(
            fit,
            cost,
            X,
            y,
            folds=FOLDS,
            grid={"l2": jnp.array([l2])},
        ).mean[0]

    slope = jax.grad(mean)(0.2)
    numeric = (mean(0.2 + 1e-5) - mean(0.2 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, numeric, rtol=1e-6)
