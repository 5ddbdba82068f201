"""Logistic regression against scikit-learn, statsmodels, simulation and exact spins."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression

from jaxml import Status, check
from jaxml.regression import logistic
from tests.depth import cases

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 3))
Y = np.array([0, 1] * 6)
PARAMS = logistic.Params(np.array([0.5, -1.0, 2.0]), np.array(0.3))
SAMPLES = {
    "class_weights": np.array([1.0, 2.0]),
    "fit.l1": None,
    "params": PARAMS,
    "confidence": 0.9,
    "spins": np.sign(RANDOM.normal(size=(12, 3))),
    "ising_couplings.l2": 0.1,
    "contrasts": np.array([[1.0, -1.0, 0.0], [0.0, 1.0, 0.0]]),
    "wald.inference": logistic.inference(PARAMS, X, Y, l2=0.1),
    "posterior_probability.inference": logistic.inference(PARAMS, X, Y, l2=0.1),
}
M = 60
DATA = RANDOM.normal(size=(M, 4))
LABELS = (DATA @ [1.0, -1.0, 0.5, 0.0] + RANDOM.logistic(size=M) > 0.3).astype(int)
WEIGHTS = RANDOM.integers(0, 4, M)
SOLVERS = ["newton", "lbfgs", optax.lbfgs]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("intercept", cases([True, False], quick=[True]))
def test_scikit_learn(solver, intercept, x64):
    """C = 1 / (l2 Σw), whichever solver; class weights count in Σw."""
    classes = np.array([1.0, 2.5])
    options = {"weights": WEIGHTS, "class_weights": classes, "intercept": intercept}
    fit = logistic.fit(DATA, LABELS, l2=0.05, solver=solver, tol=1e-9, **options)
    total = (WEIGHTS * classes[LABELS]).sum()
    peer = LogisticRegression(
        C=1 / (0.05 * total),
        tol=1e-12,
        solver="newton-cholesky",
        fit_intercept=intercept,
        class_weight=dict(enumerate(classes)),
    ).fit(DATA, LABELS, sample_weight=WEIGHTS)
    np.testing.assert_allclose(check(fit).params.w, peer.coef_[0], rtol=1e-6)
    np.testing.assert_allclose(fit.params.b, np.ravel(peer.intercept_)[0], atol=1e-7)
    value = logistic.cost(
        fit.params, DATA, LABELS, l2=0.05, weights=WEIGHTS, class_weights=classes
    )
    np.testing.assert_allclose(fit.cost, value, rtol=1e-12)
    p = logistic.probability(fit.params, DATA)
    np.testing.assert_allclose(p, peer.predict_proba(DATA)[:, 1], rtol=1e-6)
    assert (logistic.predict(fit.params, DATA) == peer.predict(DATA)).all()


def test_l1(x64):
    peer = LogisticRegression(
        C=1 / (0.12 * M), l1_ratio=1, solver="saga", tol=1e-10, max_iter=10_000
    ).fit(DATA, LABELS)
    fit = check(logistic.fit(DATA, LABELS, l1=0.12, tol=1e-9))
    ours = logistic.cost(fit.params, DATA, LABELS, l1=0.12)
    other = logistic.Params(peer.coef_[0], peer.intercept_[0])
    theirs = logistic.cost(other, DATA, LABELS, l1=0.12)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    np.testing.assert_allclose(fit.params.w, peer.coef_[0], atol=1e-5)
    assert (np.asarray(fit.params.w) == 0).any()


def test_gradient(x64):
    params = jax.tree.map(jnp.asarray, PARAMS)
    options = {
        "l2": 0.2,
        "l1": 0.1,
        "class_weights": np.array([1, 3]),
    }
    for y in (Y, Y * 0.4 + 0.3):
        found = logistic.gradient(params, X, y, **options)
        slope = jax.grad(lambda p: logistic.cost(p, X, y, **options))  # noqa: B023
        for a, b in zip(found, slope(params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10)


def test_l1_on_columns_as_they_come(x64):
    """statsmodels' own example of an l1 penalty, in its units, at the default tol."""
    x, y = _two_classes("spector")
    peer = sm.Logit(y, np.c_[x, np.ones(32)]).fit_regularized(
        alpha=[3, 3, 3, 0], disp=0, acc=1e-12, maxiter=1000, trim_mode="off"
    )
    fit = check(logistic.fit(x, y, l1=3 / 32))
    np.testing.assert_allclose(fit.params.w, peer.params[:3], atol=1e-6)
    np.testing.assert_allclose(fit.params.w[1], 0.154937, atol=1e-6)
    np.testing.assert_allclose(fit.params.b, peer.params[3], rtol=1e-5)


def test_l1_in_other_units():
    """In float32: l1 goes with 1/w; at the default tol, not to be missed by it."""
    plain = check(logistic.fit(ROUNDED, LABELS, l1=0.03125))
    for unit in (2.0**-20, 2.0**20):
        x = ROUNDED * np.float32(unit)
        other = check(logistic.fit(x, LABELS, l1=0.03125 * unit))
        np.testing.assert_allclose(other.params.w * unit, plain.params.w, rtol=1e-6)
    far = check(logistic.fit(ROUNDED + 1024, LABELS, l1=0.03125))
    np.testing.assert_allclose(far.params.w, plain.params.w, atol=1e-4)


def test_gradient_at_the_kink(x64):
    """sgn(0) = 0: at w = 0 the l1 penalty pushes nothing, whoever differentiates."""
    zero = logistic.Params(jnp.zeros(3), jnp.zeros(()))
    found = jax.grad(lambda p: logistic.cost(p, X, Y, l1=0.3))(zero)
    np.testing.assert_allclose(found.w, (0.5 - Y) @ X / 12, rtol=1e-12)
    np.testing.assert_array_equal(logistic.gradient(zero, X, Y, l1=0.3).w, found.w)


def test_a_batch_of_rows_left_out():
    """The mean over no rows is 0, as its gradient is; weights may have a large sum."""
    none = jax.jit(jax.value_and_grad(logistic.cost))
    value, slope = none(PARAMS, X, Y, l2=0.2, weights=jnp.zeros(12))
    np.testing.assert_allclose(value, 0.1 * (PARAMS.w**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(slope.w, 0.2 * PARAMS.w, rtol=1e-6)
    assert slope.b == 0
    heavy = logistic.cost(PARAMS, X, Y, weights=np.full(12, 5e37, np.float32))
    np.testing.assert_allclose(heavy, logistic.cost(PARAMS, X, Y), rtol=1e-6)


@pytest.mark.parametrize("n", cases([33, 260], quick=[33]))
def test_many_rows_and_columns(n, x64):
    """A Hessian serves several steps; from 256 columns it is made in panels."""
    rng = np.random.default_rng(6)
    m = 11_000 if n == 33 else 3000
    x = rng.normal(size=(m, n)) + 0.5
    y = (x[:, :5].sum(1) + 2 * rng.logistic(size=m) > 2.5).astype(int)
    fit = check(logistic.fit(x, y, l2=1e-3, tol=1e-9))
    slope = logistic.gradient(fit.params, x, y, l2=1e-3)
    assert max(np.abs(slope.w).max(), abs(slope.b)) < 1e-9
    twice = np.c_[x, x[:, :1]]
    assert logistic.fit(twice, y).status == Status.SINGULAR
    apart = (x[:, 0] > 0.5).astype(int)
    assert logistic.fit(x, apart).status == Status.UNBOUNDED


@pytest.mark.long
def test_many_rows_begin_with_a_part(x64):
    """Sorted by class, and not a multiple of a block: the same minimum."""
    x = RANDOM.normal(size=(5003, 3)) + 4
    y = (x.sum(1) + 2 * RANDOM.logistic(size=5003) > 12).astype(int)
    order = np.argsort(y, kind="stable")
    fit = check(logistic.fit(x[order], y[order], l2=1e-3, tol=1e-10))
    other = check(logistic.fit(x, y, l2=1e-3, solver="lbfgs", tol=1e-9))
    np.testing.assert_allclose(fit.params.w, other.params.w, rtol=1e-6)
    assert fit.steps <= 6


def test_number_conservation(x64):
    """b is a chemical potential: Σ p = Σ y; and Σ x (p - y) / m = -l2 w."""
    fit = check(logistic.fit(DATA, LABELS, l2=0.1, tol=1e-12))
    p = logistic.probability(fit.params, DATA)
    np.testing.assert_allclose(p.sum(), LABELS.sum(), rtol=1e-10)
    force = DATA.T @ (p - LABELS) / M
    np.testing.assert_allclose(force, -0.1 * fit.params.w, atol=1e-10)


def test_temperature(x64):
    """P(y = 1) = 1 / (e^((E - μ)/T) + 1); T times w and b at T are w and b at 1."""
    fit = check(logistic.fit(DATA, LABELS, l2=0.1, tol=1e-11))
    w, b = fit.params
    energy, mu = -DATA @ np.asarray(w), float(b)
    hot = logistic.probability(fit.params, DATA, temperature=3.0)
    np.testing.assert_allclose(hot, 1 / (np.exp((energy - mu) / 3) + 1), rtol=1e-12)
    p = logistic.probability(logistic.Params(3 * w, 3 * b), DATA, temperature=3.0)
    np.testing.assert_allclose(p, logistic.probability(fit.params, DATA), rtol=1e-12)


@pytest.mark.long
def test_probabilities_as_targets(x64):
    """A soft label is a pair of rows, one of each class."""
    soft = RANDOM.uniform(size=M)
    fit = check(logistic.fit(DATA, soft, l2=0.1, tol=1e-11))
    twice = np.r_[DATA, DATA], np.repeat([1, 0], M)
    pair = logistic.fit(*twice, l2=0.1, weights=np.r_[soft, 1 - soft], tol=1e-11)
    np.testing.assert_allclose(fit.params.w, pair.params.w, atol=1e-9)


@pytest.mark.parametrize("solver", cases(["newton", "lbfgs"], quick=["newton"]))
def test_no_finite_minimum(solver):
    """Separable data, with and without a penalty, and a single class."""
    fit = functools.partial(logistic.fit, DATA, solver=solver)
    apart = (DATA[:, 0] > 0).astype(int)
    assert fit(apart).status == Status.UNBOUNDED
    assert fit(apart, l2=0.01).status == Status.CONVERGED
    assert fit(apart * 0, l2=0.1).status == Status.UNBOUNDED
    one_sided = np.where(apart, 0, WEIGHTS + 1)
    assert fit(apart, l2=0.1, weights=one_sided).status == Status.UNBOUNDED
    status = jax.jit(jax.vmap(lambda y: fit(y, l2=0.0).status))
    both = status(np.stack([apart, LABELS]))
    assert list(both) == [Status.UNBOUNDED, Status.CONVERGED]


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_quasi_separation(solver):
    """One level of a factor holds only one class: its weight has no bound."""
    x = np.c_[DATA, np.arange(M) < 8]
    y = np.where(np.arange(M) < 8, 1, LABELS)
    assert logistic.fit(x, y, solver=solver).status == Status.UNBOUNDED
    twice = np.c_[DATA, DATA[:, 0]]
    assert logistic.fit(twice, LABELS, solver=solver).status == Status.SINGULAR


def test_many_columns_of_which_two_are_equal(x64):
    x = np.random.default_rng(1).normal(size=(600, 254))
    x = np.c_[x, x[:, :2]]
    y = (np.random.default_rng(2).uniform(size=600) < 0.5).astype(int)
    assert logistic.fit(x, y).status == Status.SINGULAR


# --- units, origins and what tol promises ------------------------------------------

ROUNDED = (np.round(DATA * 256) / 256).astype(np.float32)  # so that + 1024 is exact


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_units_and_origins(solver):
    """In float32: w is that of x in other units, b that of another origin."""
    fit = functools.partial(logistic.fit, y=LABELS, solver=solver)
    for l2 in (0.0, 2.0**-6):
        plain = check(fit(ROUNDED, l2=l2))
        for unit in (2.0**-20, 2.0**20):
            other = check(fit(ROUNDED * np.float32(unit), l2=l2 * unit**2))
            np.testing.assert_allclose(other.params.w * unit, plain.params.w, rtol=1e-6)
            np.testing.assert_allclose(other.params.b, plain.params.b, rtol=1e-6)
        far = check(fit(ROUNDED + 1024, l2=l2))
        np.testing.assert_allclose(far.params.w, plain.params.w, rtol=2e-4, atol=2e-5)
        b = plain.params.b - 1024 * np.float64(plain.params.w).sum()
        np.testing.assert_allclose(far.params.b, b, rtol=2e-4)


def problems(count=40, m=60, n=4, seed=0):
    """Random problems of all conditions, units and origins, exact in float32."""
    rng = np.random.default_rng(seed)
    units = 10 ** rng.uniform(-6, 6, count)
    x, score = [], []
    for unit in units:
        mix = rng.normal(size=(n, n)) * np.geomspace(1, 10 ** rng.uniform(-3, 0), n)
        plain = rng.normal(size=(m, n)) @ mix
        score.append(plain @ rng.normal(size=(n, 3)) * rng.choice([0.5, 3]))
        far = rng.normal(size=n) * rng.choice([0, 30])
        x.append(((plain + far) * unit).astype(np.float32).astype(float))
    noise = rng.gumbel(size=(count, m, 3))
    l2 = np.float32(rng.choice([1e-7, 1e-3], count) * units**2).astype(float)
    return np.array(x), np.argmax(np.array(score) + noise, axis=2), l2


def least(x, y, l2):
    """The minimum of the mean of the losses and l2/2 |W|², by NumPy's Newton."""
    m, k = y.shape
    centre, unit = x.mean(0), x.std(0)
    a = np.c_[(x - centre) / unit, np.ones(m)]
    penalty = np.append(l2 / unit**2, 0)[:, None]

    def cost(theta):
        z = a @ theta
        top = z.max(1)
        losses = top + np.log(np.exp(z - top[:, None]).sum(1)) - (y * z).sum(1)
        return losses.mean() + 0.5 * (penalty * theta**2).sum()

    theta, size = np.zeros((len(penalty), k)), len(penalty) * k
    gauge = np.kron(np.eye(len(penalty)), np.ones((k, k)))
    for _ in range(100):
        p = np.exp(a @ theta - (a @ theta).max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        slope = a.T @ (p - y) / m + penalty * theta
        weight = (p[:, :, None] * np.eye(k) - p[:, :, None] * p[:, None]) / m
        h = np.einsum("mi,mj,mcd->icjd", a, a, weight, optimize=True)
        h = h.reshape(size, size) + np.diag(np.repeat(penalty[:, 0], k)) + gauge
        move = np.linalg.solve(h, slope.ravel()).reshape(theta.shape)
        step = 1.0
        while cost(theta - step * move) > cost(theta) and step > 1e-9:
            step /= 2
        theta = theta - step * move
    return cost(theta)


def excess(solver, dtype):
    """How far above the minimum each fit ends, as a share of it, and their statuses."""
    x, y, l2 = problems()
    y = np.minimum(y, 1)
    found = jax.vmap(lambda x, y, l2: logistic.fit(x, y, l2=l2, solver=solver))(
        x.astype(dtype), y, l2.astype(dtype)
    )
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: np.asarray(a, float), found.params)
        value = jax.vmap(lambda p, x, y, l2: logistic.cost(p, x, y, l2=l2))
        value = np.asarray(value(params, x, y, l2))
    lowest = [least(a, np.eye(2)[b], 2 * c) for a, b, c in zip(x, y, l2, strict=True)]
    return (value - lowest) / lowest, np.asarray(found.status)


@pytest.mark.parametrize("solver", cases(["newton", "lbfgs"], quick=["newton"]))
def test_tol_is_kept(solver, x64):
    """At the default tol of 1e-5 the cost is within 1e-10 of its minimum."""
    above, status = excess(solver, float)
    assert (status == Status.CONVERGED).all()
    assert above.max() < 1.01e-10


@pytest.mark.parametrize("solver", cases(["newton", "lbfgs"], quick=["lbfgs"]))
def test_tol_is_kept_in_float32(solver):
    """Or to the rounding of the cost, with that of params far from the origin."""
    above, status = excess(solver, np.float32)
    assert (status == Status.CONVERGED).all()
    assert above.max() < 1e-5


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_rows_of_weight_0_are_not_there(solver):
    """Whatever they hold."""
    x, y = np.r_[ROUNDED, ROUNDED[:8]], np.r_[LABELS, LABELS[:8]]
    x[-8:-4], x[-4:] = 1e6, -1e6
    weights = np.r_[WEIGHTS, np.zeros(8)]
    for l2 in (0.0, 0.01):
        fit = functools.partial(logistic.fit, l2=l2, solver=solver)
        whole = check(fit(x, y, weights=weights))
        part = check(fit(ROUNDED, LABELS, weights=WEIGHTS))
        np.testing.assert_allclose(whole.params.w, part.params.w, rtol=1e-4)
        np.testing.assert_allclose(whole.cost, part.cost, rtol=1e-6)


def test_the_loss_of_a_sure_row():
    """log(1 + e^-z), of which float32 can hold all digits."""
    z = np.array([12.0, 20.0, -30.0])
    params = logistic.Params(jnp.ones(1), jnp.zeros(()))
    value = logistic.cost(params, np.float32(z)[:, None], (z > 0).astype(int))
    np.testing.assert_allclose(value, np.log1p(np.exp(-np.abs(z))).mean(), rtol=1e-6)


# --- inference ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["spector", "fair", "anes96", "heart", "synthetic"])
def test_statsmodels(name, x64):
    x, y = _two_classes(name)
    peer = sm.Logit(y, np.c_[x, np.ones(len(y))]).fit(disp=0, tol=1e-12, maxiter=100)
    fit = check(logistic.fit(x, y, tol=1e-9))
    found = logistic.inference(fit.params, x, y)
    join = lambda params: np.append(params.w, params.b)
    interval = peer.conf_int(0.05)
    pairs = {
        "standard_error": peer.bse,
        "statistic": peer.tvalues,
        "p": peer.pvalues,
        "low": interval[:, 0],
        "high": interval[:, 1],
    }
    np.testing.assert_allclose(join(fit.params), peer.params, rtol=1e-6)
    for field, expected in pairs.items():
        value = join(getattr(found.table, field))
        np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=field)
    pairs = {
        "log_likelihood": peer.llf,
        "null": peer.llnull,
        "pseudo_r2": peer.prsquared,
        "aic": peer.aic,
        "bic": peer.bic,
        "ratio": peer.llr,
        "ratio_p": peer.llr_pvalue,
    }
    for field, expected in pairs.items():
        value = getattr(found, field)
        np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=field)
    contrasts = np.eye(2, x.shape[1])
    w, p = logistic.wald(fit.params, found, contrasts)
    test = peer.wald_test(np.c_[contrasts, [0, 0]], use_f=False, scalar=True)
    np.testing.assert_allclose(w, test.statistic, rtol=1e-6)
    np.testing.assert_allclose(p, test.pvalue, rtol=1e-6)


def _two_classes(name):
    """Real data of statsmodels, and simulated ones, as x and y."""
    if name == "spector":
        data = sm.datasets.spector.load_pandas()
        return data.exog.to_numpy(float), data.endog.to_numpy(int)
    if name == "fair":
        data = sm.datasets.fair.load_pandas()
        return data.exog.to_numpy(float), (data.endog.to_numpy() > 0).astype(int)
    if name == "anes96":
        data = sm.datasets.anes96.load_pandas()
        x = data.data[["logpopul", "selfLR", "age", "educ", "income"]].to_numpy(float)
        return x, data.data["vote"].to_numpy(int)
    if name == "heart":
        data = sm.datasets.heart.load_pandas()
        x = data.data[["survival", "age"]].to_numpy(float)
        return x / [100, 10], data.data["censors"].to_numpy(int)
    return DATA, LABELS


def test_sandwich(x64):
    """statsmodels' HC0, rows repeated as often as their weight says."""
    repeated = np.repeat(DATA, WEIGHTS, axis=0), np.repeat(LABELS, WEIGHTS)
    a = np.c_[repeated[0], np.ones(len(repeated[1]))]
    peer = sm.Logit(repeated[1], a).fit(disp=0, tol=1e-12, cov_type="HC0")
    fit = check(logistic.fit(DATA, LABELS, weights=WEIGHTS, tol=1e-10))
    options = {"weights": WEIGHTS, "covariance": "sandwich"}
    found = logistic.inference(fit.params, DATA, LABELS, **options)
    errors = found.table.standard_error
    np.testing.assert_allclose(np.append(errors.w, errors.b), peer.bse, rtol=1e-8)
    np.testing.assert_allclose(found.bic, peer.bic, rtol=1e-9)


def test_inference_far_from_the_origin():
    """Years, in float32: statsmodels in float64, with the rows centred or not."""
    rng = np.random.default_rng(4)
    year = np.round(2010 + 5 * rng.normal(size=M))
    x = np.c_[year, ROUNDED[:, 0]].astype(np.float32)
    y = (0.4 * (year - 2010) + rng.logistic(size=M) > 0).astype(int)
    a = np.c_[x.astype(float) - [2010, 0], np.ones(M)]
    for covariance, kind in (("information", "nonrobust"), ("sandwich", "HC0")):
        peer = sm.Logit(y, a).fit(disp=0, tol=1e-12, cov_type=kind)
        fit = check(logistic.fit(x, y))
        found = logistic.inference(fit.params, x, y, covariance=covariance)
        errors = found.table.standard_error
        np.testing.assert_allclose(errors.w, peer.bse[:2], rtol=1e-4)
        np.testing.assert_allclose(found.table.p.w, peer.pvalues[:2], rtol=1e-3)
        there = np.array([-2010, 0, 1])
        cov_b = there @ peer.cov_params() @ there
        np.testing.assert_allclose(errors.b, np.sqrt(cov_b), rtol=1e-4)
        w, p = logistic.wald(fit.params, found, np.eye(2))
        test = peer.wald_test(np.eye(2, 3), use_f=False, scalar=True)
        np.testing.assert_allclose(w, test.statistic, rtol=1e-3)
        np.testing.assert_allclose(p, test.pvalue, rtol=1e-2)
        z = a @ peer.params
        variance = ((a @ peer.cov_params()) * a).sum(1)
        expected = 1 / (1 + np.exp(-z / np.sqrt(1 + np.pi * variance / 8)))
        p = logistic.posterior_probability(fit.params, found, x)
        np.testing.assert_allclose(p, expected, atol=1e-4)


@pytest.mark.long
def test_intervals_cover():
    """95 % intervals hold the truth in 93 to 97 % of 2,000 simulations."""
    truth = jnp.array([0.8, -0.5, 0.0])

    def covered(key):
        of_x, of_y = jax.random.split(key)
        x = jax.random.normal(of_x, (200, 3))
        y = jax.random.bernoulli(of_y, jax.nn.sigmoid(x @ truth + 0.4))
        fit = logistic.fit(x, y.astype(jnp.int32))
        table = logistic.inference(fit.params, x, y.astype(jnp.int32)).table
        return (table.low.w < truth) & (truth < table.high.w)

    keys = jax.random.split(jax.random.key(0), 2000)
    shares = jax.jit(lambda keys: jax.lax.map(covered, keys, batch_size=500))(keys)
    print("coverage:", shares.mean(0))
    assert ((shares.mean(0) > 0.93) & (shares.mean(0) < 0.97)).all()


@pytest.mark.long
def test_laplace_posterior(x64):
    """For one weight, against the posterior's own mean and spread by quadrature."""
    x, y = DATA[:, :1], LABELS
    l2 = 0.3
    fit = check(logistic.fit(x, y, l2=l2, intercept=False, tol=1e-11))
    options = {"l2": l2, "intercept": False}
    found = logistic.inference(fit.params, x, y, **options)
    grid = np.linspace(-4, 6, 20_001)
    z = grid[:, None] * x[:, 0][None]
    log = (y * z - np.logaddexp(0, z)).sum(1) - 0.5 * l2 * M * grid**2
    density = np.exp(log - log.max())
    density /= density.sum()
    mean = (density * grid).sum()
    spread = np.sqrt((density * (grid - mean) ** 2).sum())
    np.testing.assert_allclose(found.table.standard_error.w[0], spread, rtol=0.02)
    far = np.array([[0.5], [3.0]])
    exact = (density[:, None] / (1 + np.exp(-grid[:, None] * far[:, 0]))).sum(0)
    p = logistic.posterior_probability(fit.params, found, far)
    np.testing.assert_allclose(p, exact, atol=0.01)
    assert p[1] < logistic.probability(fit.params, far)[1]


# --- spins -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "coefficient"),
    [(2 / np.log(1 + np.sqrt(2)), 0.88137359), (3.0, 0.66666667)],
)
def test_ising_thermometer(temperature, coefficient, x64):
    """The exact 3 × 3 ensemble: 2/T for the neighbours, else 0, and no field."""
    side = 3
    sites = side**2
    states = np.array(np.meshgrid(*[[-1.0, 1.0]] * sites)).reshape(sites, -1).T
    grid = states.reshape(-1, side, side)
    bonds = grid * np.roll(grid, 1, 1) + grid * np.roll(grid, 1, 2)
    weights = np.exp(bonds.sum((1, 2)) / temperature)
    found = logistic.ising_couplings(states, weights=weights / weights.mean())
    assert (np.asarray(found.status) == Status.CONVERGED).all()
    i = np.arange(sites)
    row, column = i // side, i % side
    near = np.zeros((sites, sites))
    for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        near[i, (row + down) % side * side + (column + right) % side] = 1
    np.testing.assert_allclose(2 * found.j, near * 2 / temperature, atol=1e-8)
    np.testing.assert_allclose(2 * found.j[0, 1], coefficient, atol=1e-8)
    np.testing.assert_allclose(found.h, 0, atol=1e-8)


# --- derivatives and traces --------------------------------------------------------


@pytest.mark.parametrize("what", cases(["l2", "y", "x"], quick=["x"]))
@pytest.mark.parametrize("l1", [None, 0.03])
def test_validation_cost_has_derivatives(what, l1, x64):
    half = M // 2
    at = {
        "l2": jnp.array(0.1),
        "y": jnp.asarray(0.8 * LABELS[:half] + 0.1),
        "x": jnp.asarray(DATA[:half]),
    }

    @jax.jit
    def validation(value):
        given = {**at, what: value}
        fit = logistic.fit(given["x"], given["y"], l2=given["l2"], l1=l1, tol=1e-11)
        return logistic.cost(fit.params, DATA[half:], LABELS[half:])

    slope = jax.grad(validation)(at[what])
    push = np.random.default_rng(3).normal(size=at[what].shape)
    step = 1e-5
    up, down = validation(at[what] + step * push), validation(at[what] - step * push)
    np.testing.assert_allclose(
        np.vdot(slope, push), (up - down) / (2 * step), rtol=1e-5
    )


def test_refits_add_no_trace():
    logistic.fit(DATA, LABELS, l2=0.1, weights=np.ones(M))
    before = logistic.fit.traces
    for i in range(100):
        y, weights = RANDOM.integers(0, 2, M), RANDOM.uniform(size=M)
        logistic.fit(DATA, y, l2=0.01 * i, weights=weights)
    assert logistic.fit.traces == before


def test_newton_momentum_and_sgd_agree(x64):
    heavy = functools.partial(optax.sgd, momentum=0.9)
    slow = logistic.fit(DATA, LABELS, l2=0.1, solver=heavy, learning_rate=0.3, tol=1e-8)
    fast = logistic.fit(DATA, LABELS, l2=0.1, tol=1e-10)
    np.testing.assert_allclose(check(slow).params.w, fast.params.w, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: logistic.fit(X, Y + 1), "^y holds the label 2"),
        (lambda: logistic.fit(X, Y * 1.5), r"^y must lie in \[0, 1\]"),
        (lambda: logistic.fit(X, Y, solver="irls"), "^solver must be one of"),
        (lambda: logistic.logits(PARAMS, X, temperature=-1.0), "^temperature must lie"),
        (lambda: logistic.fit(X, Y, class_weights=[1.0]), "^class_weights has shape"),
        (lambda: logistic.logits(PARAMS, X[:, :2]), "^params.w has shape"),
        (lambda: logistic.inference(PARAMS, X, Y, covariance="x"), "^covariance must"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
