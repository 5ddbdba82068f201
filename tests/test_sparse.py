"""l1 on planes: bounds of duality in NumPy, brute force, and data as they come."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import entr
from scipy.special import softmax as chances_of
from sklearn import datasets as sklearn

from jaxml import Status, check
from jaxml.optimize import _quadratic
from jaxml.regression import _sparse, logistic, softmax
from tests.depth import cases


def as_they_come(name):
    """x, exact in float32, with the units and origins that it has, and labels."""
    if name == "spector":
        data = sm.datasets.spector.load_pandas()
        x, y = data.exog, data.endog
    elif name == "fair":
        data = sm.datasets.fair.load_pandas()
        x, y = data.exog, data.endog > 0
    elif name == "made":
        more = {"n_informative": 8, "n_redundant": 6, "random_state": 0}
        x, y = sklearn.make_classification(300, 20, **more)
        x = x * np.logspace(-3, 3, 20) + np.logspace(3, -3, 20)
    else:
        x, y = getattr(sklearn, f"load_{name}")(return_X_y=True)
    return np.asarray(x, np.float32).astype(float), np.asarray(y, int)


def two_of(name):
    """Two of its classes."""
    x, y = as_they_come(name)
    first, second = {"iris": (1, 2), "digits": (3, 8)}.get(name, (0, 1))
    rows = (y == first) | (y == second)
    return x[rows], (y[rows] == second).astype(int)


def bound(params, x, y, l1):
    """What no J is below: the dual at the residuals of params, made feasible.

    J* = max over q of the mean entropy of q, (m, k), whose means are those of the goals
    y, with |Σᵢ xᵢ (q - y)ᵢ| / m at most l1. Of logistic regression the second is asked
    of class 1 alone: W of class 0 is held at 0.
    """
    m, w = len(x), np.asarray(params.w, float)
    z = x @ w + np.asarray(params.b, float)
    z = np.c_[0 * z, z] if w.ndim == 1 else z
    goals = np.eye(z.shape[1])[y]
    p = chances_of(z, axis=1)
    have, want = p.mean(0), goals.mean(0)
    kept = np.minimum(1, want / have)
    given = np.maximum(want - have, 0)
    given /= given.sum() if given.sum() > 0 else 1
    r = p @ (np.diag(kept) + np.outer(1 - kept, given)) - goals
    pull = np.abs(x.T @ r / m)[:, 1 if w.ndim == 1 else slice(None)]
    return entr(goals + min(1, l1 / pull.max()) * r).sum(1).mean()


def penalties(x, y):
    """Two l1, a hundredth and a ten-thousandth of the largest pull."""
    goals = np.eye(y.max() + 1)[y]
    largest = np.abs((x - x.mean(0)).T @ (goals - goals.mean(0))).max() / len(y)
    return (largest * np.array([1e-2, 1e-4])).astype(np.float32).astype(float)


def judge(module, x, y, **k):
    """Fits at the default tol are CONVERGED, and near the bound in float64.

    The bound holds wherever it is taken, and is closest at fits with a small tol.
    """
    l1s = penalties(x, y)
    fits = jax.jit(
        jax.vmap(lambda x, l1, tol: module.fit(x, y, l1=l1, tol=tol, **k), (None, 0, 0))
    )
    single = fits(x.astype(np.float32), l1s.astype(np.float32), np.full(2, 1e-5))
    with jax.enable_x64(True):
        twice, tols = np.tile(l1s, 2), np.repeat([1e-5, 1e-10], 2)
        double = jax.tree.map(np.asarray, fits(x, twice, tols))
        assert (np.append(single.status, double.status) == Status.CONVERGED).all()
        for i, l1 in enumerate(l1s):
            best = jax.tree.map(lambda a: a[i + 2], double.params)  # noqa: B023
            least = bound(best, x, y, l1)
            for fit, within in ((double, 1e-8), (single, 1e-5)):
                params = jax.tree.map(lambda a: np.asarray(a[i], float), fit.params)  # noqa: B023
                value = float(module.cost(params, x, y, l1=l1))
                assert abs(value - least) < within * least


SETS = ["spector", "iris", "breast_cancer", "wine", "digits", "made", "fair"]


@pytest.mark.parametrize("name", cases(SETS, quick=["breast_cancer"]))
def test_columns_as_they_come(name):
    """Whatever their units; proximal gradients took for ever."""
    judge(logistic, *two_of(name))


def test_rows_that_are_far_out(x64):
    """Where rows are sure, a model overshoots, and one of too much damping creeps."""
    rng = np.random.default_rng(0)
    x = np.clip(rng.standard_cauchy((500, 12, 2)), -1e3, 1e3)
    y = (rng.random((500, 12)) < 0.3).astype(int)
    y[:, :2] = 1, 0
    fit = lambda x, y: logistic.fit(x, y, l1=1e-4, tol=1e-11, max_iter=100)
    found = check(jax.jit(jax.vmap(fit))(x, y))
    for i in range(len(x)):
        params = jax.tree.map(lambda a: a[i], found.params)  # noqa: B023
        least = bound(params, x[i], y[i], 1e-4)
        np.testing.assert_allclose(found.cost[i], least, rtol=1e-7)


@pytest.mark.parametrize("name", cases(["iris", "wine"], quick=["wine"]))
def test_classes_as_they_come(name):
    x, y = as_they_come(name)
    judge(softmax, x, y, k=int(y.max() + 1))


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(80, 30)) * np.geomspace(1, 4, 30)
THREE = RANDOM.integers(0, 3, 80)


@pytest.mark.parametrize("together", [12, 100])
@pytest.mark.parametrize("module", [logistic, softmax])
def test_a_part_at_a_time(module, together, x64, monkeypatch):
    """Where there are many weights, in blocks, and where they are too many for one."""
    monkeypatch.setattr(_sparse, "BLOCK", 5)
    monkeypatch.setattr(_sparse, "TOGETHER", together)
    y, k = (THREE, {"k": 3}) if module is softmax else (np.minimum(THREE, 1), {})
    x = X[:, : 29 if together == 12 else 30]  # of programs of their own
    fit = check(module.fit(x, y, l1=0.05, tol=1e-9, **k))
    assert (np.asarray(fit.params.w) != 0).sum() > 12
    np.testing.assert_allclose(fit.cost, bound(fit.params, x, y, 0.05), rtol=1e-7)


def test_weights_are_folds(x64):
    """Folds and penalties in one vmap, as each alone without the rows of weight 0."""
    x, y, l1s = X[:, :6], np.minimum(THREE, 1), np.array([0.1, 0.01])
    folds = np.arange(80)[None] % 4 != np.arange(4)[:, None]
    fit = lambda l1, weights: logistic.fit(x, y, l1=l1, weights=weights, tol=1e-9)
    by_folds = jax.vmap(jax.vmap(fit, (0, None)), (None, 0))
    found = check(jax.jit(by_folds)(l1s, folds.astype(float)))
    for i, j in ((0, 1), (3, 0)):
        rows, l1 = folds[i], l1s[j]
        one = check(logistic.fit(x[rows], y[rows], l1=l1, tol=1e-9))
        np.testing.assert_allclose(found.params.w[i, j], one.params.w, atol=1e-9)
        np.testing.assert_allclose(found.cost[i, j], one.cost, rtol=1e-12)
        np.testing.assert_allclose(one.cost, bound(one.params, x[rows], y[rows], l1))


@pytest.mark.parametrize("module", [logistic, softmax])
def test_what_has_no_minimum(module):
    """An l1 of 0 holds nothing, one above 0 all but b."""
    k = {} if module is logistic else {"k": 2}
    x, apart = X[:, :3], (X[:, 0] > 0.1).astype(int)
    fit = jax.jit(lambda y, l1: module.fit(x, y, l1=l1, **k).status)
    assert fit(apart, 0.0) == Status.UNBOUNDED
    assert fit(apart, 1e-4) == Status.CONVERGED
    assert fit(np.minimum(THREE, 1), 0.0) == Status.CONVERGED
    assert fit(np.ones(80, int), 0.1) == Status.UNBOUNDED


@pytest.mark.parametrize(
    ("module", "n"),
    cases(
        [(logistic, 5), (logistic, 90), (softmax, 5), (softmax, 25)],
        quick=[(logistic, 5)],
    ),
)
def test_hyperparameters_have_derivatives(module, n, x64):
    """Of the minimum, and of a cost on other rows."""
    y, k = (THREE[:40], {"k": 3}) if module is softmax else (THREE[:40] // 2, {})
    x = RANDOM.normal(size=(80, n))

    @jax.jit
    def both(hyper):
        l1, l2 = hyper
        fit = module.fit(x[:40], y, l1=l1, l2=l2, tol=1e-11, **k)
        return jnp.stack([fit.cost, module.cost(fit.params, x[40:], y)])

    at, step = np.array([0.02, 0.01]), 1e-6
    for slope, push in zip(jax.jacfwd(both)(at).T, step * np.eye(2), strict=True):
        rise = both(at + push) - both(at - push)
        np.testing.assert_allclose(slope, rise / 2 / step, rtol=1e-6)


@pytest.mark.parametrize("descent", [_quadratic._swept, _quadratic._accelerated])
def test_minimum_of_a_model(descent, x64, monkeypatch):
    """On a processor and elsewhere: the best of all signs that its w can have."""
    monkeypatch.setattr(_quadratic, "_swept", descent)
    root = RANDOM.normal(size=(3, 5))
    h = root.T @ root + 1e-3 * np.eye(5)
    theta, g = RANDOM.normal(size=(2, 5))
    limits = np.array([0.0, 0.1, 0.5, 1.0, 3.0])

    def value(w):
        d = w - theta
        return g @ d + 0.5 * d @ h @ d + limits @ np.abs(w)

    best = np.inf
    for signs in itertools.product([-1, 0, 1], repeat=5):
        some, w = np.array(signs) != 0, np.zeros(5)
        right = (h @ theta - g - limits * signs)[some]
        w[some] = np.linalg.solve(h[np.ix_(some, some)], right)
        best = min(best, value(w))
    model = _quadratic.Model(*map(jnp.asarray, (theta, g, h, limits)))
    found = jax.jit(lambda model: _quadratic.minimum(model, 1e-12))(model)
    np.testing.assert_allclose(value(np.asarray(found.w)), best, rtol=1e-12)
    foretold = value(theta) - best
    np.testing.assert_allclose(found.decrease + found.left, foretold, rtol=1e-9)
