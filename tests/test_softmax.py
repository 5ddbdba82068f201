"""Softmax regression against scikit-learn, autodiff and the binary case."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression

from jaxml import Status, check
from jaxml.data.scaling import one_hot
from jaxml.regression import logistic, softmax
from tests.depth import cases
from tests.test_logistic import least, problems

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 3))
Y = np.arange(12) % 3
PARAMS = softmax.Params(RANDOM.normal(size=(3, 3)), np.array([0.3, -0.2, 0.0]))
SAMPLES = {
    "class_weights": np.array([1.0, 2.0, 0.5]),
    "fit.l1": None,
    "params": PARAMS,
    "k": 3,
    "y": Y,
}
M, K = 60, 3
DATA = RANDOM.normal(size=(M, 4))
NOISE = RANDOM.gumbel(size=(M, K))
LABELS = np.argmax(DATA @ RANDOM.normal(size=(4, K)) + NOISE, axis=1)
WEIGHTS = RANDOM.integers(0, 4, M)
SOLVERS = ["newton", "lbfgs", optax.lbfgs]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("intercept", cases([True, False], quick=[True]))
def test_scikit_learn(solver, intercept, x64):
    """C = 1 / (l2 Σw), whichever solver; class weights count in Σw."""
    classes = np.array([1.0, 2.5, 0.5])
    options = {"weights": WEIGHTS, "class_weights": classes}
    fit = softmax.fit(
        DATA,
        LABELS,
        k=K,
        l2=0.05,
        solver=solver,
        tol=1e-9,
        intercept=intercept,
        **options,
    )
    peer = LogisticRegression(
        C=1 / (0.05 * (WEIGHTS * classes[LABELS]).sum()),
        tol=1e-12,
        solver="newton-cg",
        fit_intercept=intercept,
        class_weight=dict(enumerate(classes)),
        max_iter=1000,
    ).fit(DATA, LABELS, sample_weight=WEIGHTS)
    np.testing.assert_allclose(check(fit).params.w, peer.coef_.T, atol=1e-6)
    b = peer.intercept_ - peer.intercept_.mean()
    np.testing.assert_allclose(fit.params.b, b, atol=1e-6)
    np.testing.assert_allclose(
        fit.cost, softmax.cost(fit.params, DATA, LABELS, l2=0.05, **options), rtol=1e-10
    )
    p = softmax.probability(fit.params, DATA)
    np.testing.assert_allclose(p, peer.predict_proba(DATA), atol=1e-6)
    assert (softmax.predict(fit.params, DATA) == peer.predict(DATA)).all()


@pytest.mark.long
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_two_classes_are_logistic(solver, x64):
    """With energies ±z/2 the penalty is half of that on z."""
    y = LABELS == 1
    two = check(softmax.fit(DATA, y, k=2, l2=0.1, solver=solver, tol=1e-9))
    one = check(logistic.fit(DATA, y, l2=0.05, tol=1e-10))
    np.testing.assert_allclose(two.params.w[:, 1], one.params.w / 2, atol=1e-7)
    np.testing.assert_allclose(two.params.b[1], one.params.b / 2, atol=1e-7)
    np.testing.assert_allclose(two.params.w.sum(1), 0, atol=1e-9)


def test_gradient(x64):
    params = jax.tree.map(jnp.asarray, PARAMS)
    options = {"l2": 0.2, "l1": 0.1}
    options["class_weights"] = np.array([1.0, 2.0, 0.5])
    for y in (Y, RANDOM.dirichlet(np.ones(3), 12)):
        found = softmax.gradient(params, X, y, **options)
        expected = jax.grad(lambda p, y=y: softmax.cost(p, X, y, **options))(params)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_gradient_at_the_kink(x64):
    """sgn(0) = 0: at W = 0 the l1 penalty pushes nothing, whoever differentiates."""
    zero = softmax.Params(jnp.zeros((3, 3)), jnp.zeros(3))
    found = jax.grad(lambda p: softmax.cost(p, X, Y, l1=0.3))(zero)
    np.testing.assert_allclose(found.w, X.T @ (1 / 3 - np.eye(3)[Y]) / 12, rtol=1e-12)
    np.testing.assert_allclose(
        softmax.gradient(zero, X, Y, l1=0.3).w, found.w, rtol=1e-12
    )
    none = jax.jit(softmax.cost)(zero, X, Y, weights=jnp.zeros(12))
    assert none == 0


@pytest.mark.long
def test_probabilities_as_targets(x64):
    """A soft label is k rows, one of each class."""
    soft = RANDOM.dirichlet(np.ones(K), M)
    fit = check(softmax.fit(DATA, soft, k=K, l2=0.1, tol=1e-10))
    rows = np.repeat(DATA, K, axis=0), np.tile(np.arange(K), M)
    same = check(softmax.fit(*rows, k=K, l2=0.1, weights=soft.ravel(), tol=1e-10))
    np.testing.assert_allclose(fit.params.w, same.params.w, atol=1e-8)
    hard = softmax.fit(DATA, one_hot(LABELS, k=K), k=K, l2=0.1).params
    labels = softmax.fit(DATA, LABELS, k=K, l2=0.1).params
    np.testing.assert_array_equal(hard.w, labels.w)


def test_l1(x64):
    peer = LogisticRegression(
        C=1 / (0.1 * M), l1_ratio=1, solver="saga", tol=1e-10, max_iter=20_000
    ).fit(DATA, LABELS)
    fit = check(softmax.fit(DATA, LABELS, k=K, l1=0.1, tol=1e-8))
    ours = softmax.cost(fit.params, DATA, LABELS, l1=0.1)
    other = softmax.Params(peer.coef_.T, peer.intercept_)
    theirs = softmax.cost(other, DATA, LABELS, l1=0.1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)
    assert (np.asarray(fit.params.w) == 0).any()


@pytest.mark.parametrize("solver", cases(["newton", "lbfgs"], quick=["lbfgs"]))
def test_no_finite_minimum(solver):
    apart = (DATA[:, 0] > -0.5).astype(int) + (DATA[:, 0] > 0.5)
    far = np.c_[DATA[:, 0], DATA[:, 0] ** 2]
    fit = lambda x, y, **more: softmax.fit(x, y, solver=solver, **more)
    assert fit(far, apart, k=K).status == Status.UNBOUNDED
    assert fit(DATA, LABELS, k=K, l2=0.1).status == Status.CONVERGED
    assert fit(DATA, LABELS, k=K + 1, l2=0.1).status == Status.UNBOUNDED


@pytest.mark.parametrize("solver", cases(["newton", "lbfgs"], quick=["newton"]))
def test_tol_is_kept(solver):
    """In all units and origins, in float32, to the rounding of the cost."""
    x, y, l2 = problems()
    one = functools.partial(softmax.fit, k=K, solver=solver)
    found = jax.vmap(lambda x, y, l2: one(x, y, l2=l2))(
        x.astype(np.float32), y, l2.astype(np.float32)
    )
    assert (np.asarray(found.status) == Status.CONVERGED).all()
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: np.asarray(a, float), found.params)
        value = jax.vmap(lambda p, x, y, l2: softmax.cost(p, x, y, l2=l2))
        value = np.asarray(value(params, x, y, l2))
    lowest = [least(a, np.eye(K)[b], c) for a, b, c in zip(x, y, l2, strict=True)]
    assert ((value - lowest) / lowest).max() < 1e-5


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_units_outliers_and_rows_of_weight_0(solver):
    """x in other units, with one row far away, and with rows that are not there."""
    x = (np.round(DATA * 256) / 256).astype(np.float32)
    fit = functools.partial(softmax.fit, k=K, solver=solver)
    plain = check(fit(x, LABELS))
    for unit in (2.0**-20, 2.0**20):
        other = check(fit(x * np.float32(unit), LABELS))
        np.testing.assert_allclose(other.params.w * unit, plain.params.w, rtol=1e-6)
    x[0, 1] = 1e5
    found = check(fit(x, LABELS))
    np.testing.assert_allclose(
        found.cost, least(x.astype(float), np.eye(K)[LABELS], 0.0), rtol=1e-5
    )
    weights = np.ones(M)
    weights[:20] = 0
    x[:20] = 1e6
    whole = check(fit(x, LABELS, weights=weights))
    part = check(fit(x[20:], LABELS[20:]))
    np.testing.assert_allclose(whole.params.w, part.params.w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_quasi_separation(solver):
    """One level of a factor holds only one class: its weight has no bound."""
    x = np.c_[DATA[:, :3], np.arange(M) < 8]
    y = np.where(np.arange(M) < 8, 1, LABELS)
    assert softmax.fit(x, y, k=K, solver=solver).status == Status.UNBOUNDED


def test_one_vs_all(x64):
    """k fits of scikit-learn; the highest h wins."""
    fit = check(softmax.one_vs_all(DATA, LABELS, k=K, l2=0.05, weights=WEIGHTS))
    cost = 0
    for c in range(K):
        peer = LogisticRegression(C=1 / (0.05 * WEIGHTS.sum()), tol=1e-10)
        peer.fit(DATA, c == LABELS, sample_weight=WEIGHTS)
        np.testing.assert_allclose(fit.params.w[:, c], peer.coef_[0], atol=1e-4)
        options = {"l2": 0.05, "weights": WEIGHTS}
        params = logistic.Params(fit.params.w[:, c], fit.params.b[c])
        cost += logistic.cost(params, DATA, c == LABELS, **options)
    np.testing.assert_allclose(fit.cost, cost, rtol=1e-9)
    assert (softmax.predict(fit.params, DATA) == LABELS).mean() > 0.6


def test_blocks_of_rows(x64):
    """More rows than a block, in both solvers."""
    x = RANDOM.normal(size=(5003, 4))
    y = RANDOM.integers(0, K, 5003)
    one, two = (
        check(softmax.fit(x, y, k=K, l2=0.01, solver=s, tol=1e-9))
        for s in ("newton", "lbfgs")
    )
    np.testing.assert_allclose(one.params.w, two.params.w, atol=1e-7)


@pytest.mark.parametrize("what", cases(["l2", "y", "x"], quick=["x"]))
def test_validation_cost_has_derivatives(what, x64):
    half = M // 2
    soft = 0.7 * np.eye(K)[LABELS] + 0.1
    at = {"l2": jnp.array(0.1), "y": jnp.asarray(soft[:half]), "x": DATA[:half]}
    at["x"] = jnp.asarray(at["x"])

    @jax.jit
    def validation(value):
        given = {**at, what: value}
        fit = softmax.fit(given["x"], given["y"], k=K, l2=given["l2"], tol=1e-11)
        return softmax.cost(fit.params, DATA[half:], LABELS[half:])

    slope = jax.grad(validation)(at[what])
    push = np.random.default_rng(3).normal(size=at[what].shape)
    step = 1e-5
    up, down = validation(at[what] + step * push), validation(at[what] - step * push)
    np.testing.assert_allclose(
        np.vdot(slope, push), (up - down) / (2 * step), rtol=1e-5
    )


def test_refits_add_no_trace():
    softmax.fit(DATA, LABELS, k=K, l2=0.1, weights=np.ones(M))
    before = softmax.fit.traces
    for i in range(100):
        y, weights = RANDOM.integers(0, K, M), RANDOM.uniform(size=M)
        softmax.fit(DATA, y, k=K, l2=0.01 * i, weights=weights)
    assert softmax.fit.traces == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: softmax.fit(X, Y, k=2), "^y holds the label 2"),
        (lambda: softmax.fit(X, np.ones((12, 2)) / 2, k=3), "^y has shape"),
        (lambda: softmax.fit(X, Y, k=3, solver="irls"), "^solver must be one of"),
        (
            lambda: softmax.fit(X, Y, k=3, class_weights=[1.0]),
            "^class_weights has shape",
        ),
        (lambda: softmax.one_vs_all(X, Y, k=3, solver="x"), "^solver must be one of"),
        (lambda: softmax.logits(PARAMS, X[:, :2]), "^params.w has shape"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
