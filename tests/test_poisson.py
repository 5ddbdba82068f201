"""Poisson regression against scikit-learn, statsmodels, duality and simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn.linear_model import PoissonRegressor

from jaxml import Status, check
from jaxml.regression import poisson
from tests.depth import cases

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 3))
Y = RANDOM.poisson(2.0, 12) + 1.0
PARAMS = poisson.Params(np.array([0.5, -1.0, 0.3]), np.array(0.3))
SAMPLES = {
    "y": Y,
    "exposure": 0.5 + RANDOM.random(12),
    "fit.l1": None,
    "params": PARAMS,
    "confidence": 0.9,
    "contrasts": np.array([[1.0, -1.0, 0.0], [0.0, 1.0, 0.0]]),
    "wald.inference": poisson.inference(PARAMS, X, Y, l2=0.1),
}
M = 60
DATA = RANDOM.normal(size=(M, 4))
EXPOSURE = 0.5 + 3 * RANDOM.random(M)
COUNTS = RANDOM.poisson(EXPOSURE * np.exp(DATA @ [0.5, -0.5, 0.2, 0.0] + 0.3))
WEIGHTS = RANDOM.integers(0, 4, M)
SOLVERS = ["newton", "lbfgs", optax.lbfgs]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("intercept", cases([True, False], quick=[True]))
def test_scikit_learn(solver, intercept, x64):
    """A row seen for t is one of t times the weight and of y/t events."""
    fit = poisson.fit(
        DATA,
        COUNTS,
        l2=0.05,
        weights=WEIGHTS,
        exposure=EXPOSURE,
        solver=solver,
        intercept=intercept,
        tol=1e-9,
    )
    rows = WEIGHTS * EXPOSURE
    peer = PoissonRegressor(
        alpha=0.05 * WEIGHTS.sum() / rows.sum(),
        fit_intercept=intercept,
        solver="newton-cholesky",
        tol=1e-12,
    ).fit(DATA, COUNTS / EXPOSURE, sample_weight=rows)
    np.testing.assert_allclose(check(fit).params.w, peer.coef_, rtol=1e-6)
    np.testing.assert_allclose(fit.params.b, peer.intercept_, atol=1e-7)
    mu = poisson.predict(fit.params, DATA, exposure=EXPOSURE)
    np.testing.assert_allclose(mu, EXPOSURE * peer.predict(DATA), rtol=1e-6)
    more = {"weights": WEIGHTS, "exposure": EXPOSURE, "l2": 0.05}
    value = poisson.cost(fit.params, DATA, COUNTS, **more)
    np.testing.assert_allclose(fit.cost, value, rtol=1e-12)
    slope = jax.grad(poisson.cost)(fit.params, DATA, COUNTS.astype(float), **more)
    np.testing.assert_allclose(slope.w, 0, atol=1e-6)


@pytest.mark.parametrize("data", ["made", "affairs"])
def test_statsmodels(data, x64):
    """Every number of the table and of the likelihood."""
    x, y, t = DATA, COUNTS, EXPOSURE
    if data == "affairs":
        table = sm.datasets.fair.load_pandas()
        x, y = table.exog.to_numpy()[::40], np.ceil(table.endog.to_numpy()[::40])
        t = np.ones(len(y))
    fit = check(poisson.fit(x, y, exposure=t, tol=1e-9))
    ours = poisson.inference(fit.params, x, y, exposure=t)
    model = sm.GLM(y, np.c_[x, np.ones(len(y))], sm.families.Poisson(), exposure=t)
    peer = model.fit(tol=1e-14)

    def both(params):
        return np.append(params.w, params.b)

    np.testing.assert_allclose(both(fit.params), peer.params, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(both(ours.table.standard_error), peer.bse, rtol=1e-7)
    np.testing.assert_allclose(both(ours.table.statistic), peer.tvalues, atol=1e-6)
    np.testing.assert_allclose(both(ours.table.p), peer.pvalues, atol=1e-7)
    ends = np.stack([both(ours.table.low), both(ours.table.high)], axis=1)
    np.testing.assert_allclose(ends, peer.conf_int(), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours.table.covariance, peer.cov_params(), rtol=1e-6)
    p = x.shape[1] + 1
    for mine, theirs in [
        (ours.log_likelihood, peer.llf),
        (ours.null, peer.llnull),
        (ours.aic, peer.aic),
        (ours.bic, peer.bic_llf),
        (ours.deviance, peer.deviance),
        (ours.pearson, peer.pearson_chi2),
        (ours.dispersion, peer.pearson_chi2 / (len(y) - p)),
        (ours.ratio, peer.null_deviance - peer.deviance),
        (ours.ratio_p, stats.chi2.sf(peer.null_deviance - peer.deviance, p - 1)),
        (ours.pseudo_r2, 1 - peer.llf / peer.llnull),
        (2 * len(y) * fit.cost, peer.deviance),
    ]:
        np.testing.assert_allclose(mine, theirs, rtol=1e-7)
    contrasts = np.eye(p - 1)[:2]
    w, chance = poisson.wald(fit.params, ours, contrasts)
    test = peer.wald_test(np.eye(p)[:2], use_f=False, scalar=True)
    np.testing.assert_allclose([w, chance], [test.statistic, test.pvalue], rtol=1e-6)


@pytest.mark.parametrize(
    ("covariance", "of"),
    [("sandwich", {"cov_type": "HC0"}), ("quasi", {"scale": "X2"})],
)
def test_other_covariances(covariance, of, x64):
    fit = check(poisson.fit(DATA, COUNTS, exposure=EXPOSURE, tol=1e-9))
    ours = poisson.inference(
        fit.params, DATA, COUNTS, exposure=EXPOSURE, covariance=covariance
    )
    a = np.c_[DATA, np.ones(M)]
    family = sm.families.Poisson()
    peer = sm.GLM(COUNTS, a, family, exposure=EXPOSURE).fit(tol=1e-14, **of)
    np.testing.assert_allclose(ours.table.covariance, peer.cov_params(), rtol=1e-6)


def test_weights_are_repeated_rows(x64):
    again = np.repeat(np.arange(M), WEIGHTS)
    one = check(poisson.fit(DATA, COUNTS, weights=WEIGHTS, exposure=EXPOSURE))
    two = check(poisson.fit(DATA[again], COUNTS[again], exposure=EXPOSURE[again]))
    np.testing.assert_allclose(one.params.w, two.params.w, rtol=1e-6)
    for covariance in ("information", "quasi", "sandwich"):
        more = {"covariance": covariance}
        first = poisson.inference(
            one.params, DATA, COUNTS, weights=WEIGHTS, exposure=EXPOSURE, **more
        )
        second = poisson.inference(
            one.params, DATA[again], COUNTS[again], exposure=EXPOSURE[again], **more
        )
        for mine, other in zip(first, second, strict=True):
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8), mine, other
            )


def test_number_conservation(x64):
    """That fixes b: as many events as there were."""
    fit = check(poisson.fit(DATA, COUNTS, l2=0.1, weights=WEIGHTS, tol=1e-9))
    mu = poisson.predict(fit.params, DATA)
    np.testing.assert_allclose(WEIGHTS @ mu, WEIGHTS @ COUNTS, rtol=1e-8)


def test_groups_have_their_own_rates(x64):
    """With a column for each group but one, rates are the groups' own."""
    group = np.arange(M) % 3
    fit = check(
        poisson.fit(np.eye(3)[group][:, 1:], COUNTS, exposure=EXPOSURE, tol=1e-9)
    )
    rates = [COUNTS[group == g].sum() / EXPOSURE[group == g].sum() for g in range(3)]
    w, b = fit.params
    np.testing.assert_allclose(np.exp(b + np.append(0, w)), rates, rtol=1e-7)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_what_counts_are_counted_in(unit, solver):
    """w does not depend on it, in float32; b moves by its logarithm."""
    one = check(poisson.fit(DATA, COUNTS, solver=solver))
    two = check(poisson.fit(DATA, unit * COUNTS, solver=solver))
    np.testing.assert_allclose(two.params.w, one.params.w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(two.params.b, one.params.b + np.log(unit), rtol=1e-5)
    np.testing.assert_allclose(two.cost, unit * one.cost, rtol=1e-5)
    three = check(poisson.fit(DATA, COUNTS, exposure=np.full(M, unit), solver=solver))
    np.testing.assert_allclose(three.params.w, one.params.w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(three.params.b, one.params.b - np.log(unit), rtol=1e-5)


def test_l1(x64):
    """No w that is 0 pulls by more than l1, and those that are not, by as much."""
    for l1, l2 in [(0.05, 0.0), (0.3, 0.1), (10.0, 0.0)]:
        more = {"l1": l1, "l2": l2, "exposure": EXPOSURE}
        fit = check(poisson.fit(DATA, COUNTS, tol=1e-9, **more))
        w = np.asarray(fit.params.w)
        slope = poisson.gradient(fit.params, DATA, COUNTS, l2=l2, exposure=EXPOSURE)
        assert (np.abs(slope.w) <= l1 * (1 + 1e-6)).all()
        on = w != 0
        np.testing.assert_allclose(slope.w[on], -l1 * np.sign(w[on]), rtol=1e-5)
        np.testing.assert_allclose(slope.b, 0, atol=1e-8)
        value = poisson.cost(fit.params, DATA, COUNTS, **more)
        np.testing.assert_allclose(fit.cost, value, rtol=1e-12)
    assert not on.any()


def test_gradient(x64):
    more = {"l2": 0.3, "weights": WEIGHTS.astype(float), "exposure": EXPOSURE}
    params = poisson.Params(np.array([0.5, -1.0, 2.0, 0.1]), np.array(0.3))
    by_hand = poisson.gradient(params, DATA, COUNTS, **more)
    slope = jax.grad(poisson.cost)(params, DATA, COUNTS.astype(float), **more)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), by_hand, slope
    )


def test_the_cost_of_a_good_fit():
    """In float32, of counts of which e^z - y z would leave nothing."""
    y = np.array([1e6, 2e7, 3.0])
    b = np.float32(np.log(y[0] * 1.001))
    params = poisson.Params(np.zeros(1), b)
    for each in y:
        mu = np.exp(np.longdouble(b))
        exact = mu - each + each * np.log(each / mu)
        ours = poisson.cost(params, np.zeros((1, 1)), np.array([each]))
        np.testing.assert_allclose(ours, float(exact), rtol=3e-3)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_a_perfect_fit(solver):
    """Its cost is 0, of which no share is left to be found."""
    fit = check(poisson.fit(DATA[:3, :2], COUNTS[:3] + 1, solver=solver))
    mu = poisson.predict(fit.params, DATA[:3, :2])
    np.testing.assert_allclose(mu, COUNTS[:3] + 1, rtol=1e-3)
    assert fit.cost < 1e-6


@pytest.mark.parametrize("solver", cases(["newton", "lbfgs"], quick=["newton"]))
def test_no_finite_minimum(solver):
    """No events at all; or none in the rows that tell of a column."""
    assert poisson.fit(DATA, 0 * COUNTS, solver=solver).status == Status.UNBOUNDED
    rare = np.c_[DATA[:, 0], (np.arange(M) < 5).astype(float)]
    y = np.where(np.arange(M) < 5, 0, COUNTS)
    assert poisson.fit(rare, y, solver=solver).status == Status.UNBOUNDED
    assert poisson.fit(rare, y, solver=solver, l2=1e-3).status == Status.CONVERGED
    twice = np.c_[DATA, DATA[:, :1]]
    assert poisson.fit(twice, COUNTS, solver=solver).status == Status.SINGULAR
    assert poisson.fit(twice, COUNTS, solver=solver, l2=1e-3).status == Status.CONVERGED


def test_random_problems_converge(x64):
    """Few events in many rows, and the other way round: none is said to run away."""
    key = np.random.default_rng(1)
    x = key.normal(size=(40, 50, 3))
    rates = np.logspace(-0.5, 4, 40)[:, None]
    y = key.poisson(rates * np.exp(x @ [1.0, -0.5, 0.2]))
    fits = jax.vmap(lambda x, y: poisson.fit(x, y))(x, y)
    np.testing.assert_array_equal(fits.status, Status.CONVERGED)
    for i in range(0, 40, 13):
        peer = sm.GLM(y[i], np.c_[x[i], np.ones(50)], sm.families.Poisson()).fit()
        np.testing.assert_allclose(fits.params.w[i], peer.params[:3], rtol=1e-4)


def test_derivatives_of_the_solution(x64):
    """With respect to counts, also those of 0, exposures and the penalty."""

    def of(y, t, l2):
        return poisson.fit(DATA, y, exposure=t, l2=l2, tol=1e-12).params

    args = (jnp.asarray(COUNTS, float), jnp.asarray(EXPOSURE), jnp.float64(0.1))
    assert (COUNTS == 0).any()
    rng = np.random.default_rng(3)
    d_y = np.abs(rng.normal(size=M)) * (1 + np.arange(M) % 2)
    move = (jnp.asarray(d_y), jnp.asarray(rng.normal(size=M)), jnp.float64(0.3))
    tangent = jax.jvp(of, args, move)[1]
    # One-sided, as counts are not below 0; two steps leave an error of second order.
    h = 1e-4

    def at(step):
        return of(*[a + step * d for a, d in zip(args, move, strict=True)])

    differences = jax.tree.map(
        lambda a, b, c: (4 * b - c - 3 * a) / (2 * h), at(0.0), at(h), at(2 * h)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        tangent,
        differences,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: poisson.fit(DATA, COUNTS - 5), "y "),
        (lambda: poisson.fit(DATA, COUNTS, exposure=0 * EXPOSURE), "exposure "),
        (lambda: poisson.fit(DATA, COUNTS[1:]), "y "),
        (lambda: poisson.fit(DATA, COUNTS, solver="irls"), "solver "),
        (
            lambda: poisson.inference(PARAMS, X, Y, covariance="HC3"),
            "covariance ",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
