"""Mixtures of Gaussians against scikit-learn, SciPy and the identities of EM."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

import jaxml
from jaxml.evaluate import metrics
from jaxml.optimize._fit import Status
from jaxml.reduction import mixture
from tests.common.samples import Made
from tests.depth import cases

PEER = {
    "full": "full",
    "tied": "tied",
    "diagonal": "diag",
    "spherical": "spherical",
}


def _sample(seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(3, 3, 5))
    sigma = a @ a.swapaxes(1, 2) / 5 + 0.3 * np.eye(3)
    return mixture.Params(rng.dirichlet(np.ones(3)), rng.normal(size=(3, 3)), sigma)


SAMPLES = {"params": Made(_sample), "k": 2, "floor": 0.1, "max_iter": 5, "count": 4}
RANDOM = np.random.default_rng(0)
M, N, K = 300, 3, 2
TRUE = RANDOM.integers(0, K, M)
X = np.where(
    TRUE[:, None] == 0,
    RANDOM.normal(size=(M, N)) @ RANDOM.normal(size=(N, N)),
    [3.0, 1.0, -2.0] + RANDOM.normal(size=(M, N)) * [0.5, 1.0, 2.0],
)
KEY = jax.random.key(0)


def leaves(one, two):
    """Pairs of arrays of two Params."""
    return zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)


def _peer(params, kind, **options):
    sigma = np.asarray(params.covariances)
    inverse = np.linalg.inv(sigma) if kind in ("full", "tied") else 1 / sigma
    return GaussianMixture(
        len(params.weights),
        covariance_type=PEER[kind],
        weights_init=np.asarray(params.weights),
        means_init=np.asarray(params.means),
        precisions_init=inverse,
        **options,
    )


@pytest.mark.parametrize("kind", cases(mixture.KINDS, quick=["full", "diagonal"]))
def test_is_scikit_learns(kind, x64):
    start = mixture.init(KEY, X, k=K, covariance=kind)
    fit = jaxml.check(mixture.fit(start, X, tol=1e-9, max_iter=500))
    peer = _peer(start, kind, tol=1e-9, max_iter=500).fit(X)
    np.testing.assert_allclose(fit.cost, -peer.score(X), rtol=1e-8)
    np.testing.assert_allclose(fit.params.weights, peer.weights_, atol=1e-4)
    np.testing.assert_allclose(fit.params.means, peer.means_, atol=1e-3)
    np.testing.assert_allclose(fit.params.covariances, peer.covariances_, atol=1e-3)
    density = mixture.log_density(fit.params, X)
    np.testing.assert_allclose(density, peer.score_samples(X), atol=1e-3)
    odds = mixture.responsibilities(fit.params, X)
    np.testing.assert_allclose(odds, peer.predict_proba(X), atol=1e-3)
    np.testing.assert_array_equal(mixture.predict(fit.params, X), odds.argmax(1))
    found = mixture.criteria(fit.params, X)
    np.testing.assert_allclose(found.aic, peer.aic(X), rtol=1e-7)
    np.testing.assert_allclose(found.bic, peer.bic(X), rtol=1e-7)


def test_density_is_that_of_scipy(x64):
    params = _sample(0)
    each = [
        share * multivariate_normal(mean, sigma).pdf(X)
        for share, mean, sigma in zip(*jax.tree.leaves(params), strict=True)
    ]
    np.testing.assert_allclose(
        mixture.log_density(params, X), np.log(sum(each)), rtol=1e-10
    )


@pytest.mark.parametrize("kind", cases(["full", "tied"], quick=["full"]))
def test_both_passes_are_one_step(kind, x64, monkeypatch):
    """Products of columns and differences from means give the same sums.

    As do products for one Gaussian, and differences for the other.
    """
    start = mixture.init(KEY, X, k=K, covariance=kind)
    one = mixture.step(start, X + 7)
    run = lambda x: mixture.fit(start, x, tol=0.0, max_iter=1).params
    found = [run(X + 7)]
    rounding = mixture._rounding
    careful = lambda *args: rounding(*args) + np.array([0, 0.01])
    monkeypatch.setattr(mixture, "_rounding", careful)
    jax.clear_caches()
    found.append(run(X + 7))
    monkeypatch.setattr(mixture, "WIDE", 1)
    jax.clear_caches()
    found.append(run(X + 7))
    for two in found:
        for a, b in leaves(one, two):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_blocks_of_rows():
    """More rows than a block, in float32, far from the origin."""
    x = np.tile(X, (15, 1)) + 1e3
    start = mixture.init(KEY, X + 1e3, k=K)
    one, two = mixture.fit(start, x), mixture.fit(start, X + 1e3)
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-5)
    np.testing.assert_allclose(
        one.params.covariances, two.params.covariances, rtol=0.02
    )
    with jax.enable_x64(True):
        exact = mixture.fit(start, X + 1e3)
    np.testing.assert_allclose(one.cost, exact.cost, rtol=1e-4)


def _two(distance, scale=1.0):
    """Two clusters, 100 rows each, and Params that are the answer: their moments."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 100, 2)) * [1.0, 0.5]
    x = (x + distance * np.array([-1.0, 1.0])[:, None, None]).astype("f") * scale
    moments = [(c.mean(axis=0), np.cov(c.T, ddof=0)) for c in x.astype(float)]
    means, sigma = map(np.stack, zip(*moments, strict=True))
    density = [
        multivariate_normal(mean, each).logpdf(rows)
        for rows, mean, each in zip(x, means, sigma, strict=True)
    ]
    cost = np.log(2) - np.mean(density)
    return x.reshape(200, 2), mixture.Params(np.full(2, 0.5), means, sigma), cost


@pytest.mark.parametrize("start", ["near", "far"])
@pytest.mark.parametrize("scale", [1.0, 2.0**-20, 2.0**20])
def test_clusters_far_apart(scale, start):
    """A thousand widths, in any unit, in float32: moments of each; J never rises."""
    x, exact, cost = _two(1e3, scale)
    if start == "near":
        params = mixture.init(KEY, x, k=2)
    else:
        params = mixture.Params(
            exact.weights, scale * np.array([[-500, -300], [100, 300.0]]),
            np.stack([1e6 * scale**2 * np.eye(2)] * 2),
        )  # fmt: skip
    fit = jaxml.check(mixture.fit(params, x, max_iter=20))
    np.testing.assert_allclose(fit.cost, cost, rtol=1e-5)
    order = np.argsort(np.asarray(fit.params.means)[:, 0])
    for a, b in leaves(fit.params, exact):
        size = np.abs(b).max()
        np.testing.assert_allclose(a[order], b, rtol=1e-4, atol=1e-4 * size)
    history = np.asarray(fit.history)[: int(fit.steps)]
    assert np.all(np.diff(history) <= 1e-5 * np.abs(history[1:]))


@pytest.mark.parametrize("kind", cases(mixture.KINDS, quick=["full", "diagonal"]))
def test_a_value_that_stands_for_none(kind):
    """One row of 9999 beside a cluster; of two rows alone, each its own Gaussian."""
    x, _, _ = _two(0.0)
    x[0] = 9999
    fit = jaxml.check(mixture.fit(mixture.init(KEY, x, k=2), x))
    rest = np.argmin(np.abs(np.asarray(fit.params.means)[:, 0]))
    wanted = np.cov(x[1:].T.astype(float), ddof=0)
    np.testing.assert_allclose(fit.params.covariances[rest], wanted, atol=2e-3)
    pair = np.array([[9999.0], [0.0]])
    start = mixture.init(KEY, pair, k=2, covariance=kind, floor=0.1)
    fit = jaxml.check(mixture.fit(start, pair, floor=0.1))
    variance = 0.1**2 * np.var(pair)  # no variance within: floor² of all
    np.testing.assert_allclose(np.ravel(fit.params.covariances), variance, rtol=1e-5)
    wanted = np.log(2) + 0.5 * np.log(2 * np.pi * variance)
    np.testing.assert_allclose(fit.cost, wanted, rtol=1e-6)


def test_a_fit_that_converged_is_at_the_minimum():
    """Within a few tol of what scikit-learn's EM tends to in float64 from there."""
    rng, many = np.random.default_rng(1), []
    for _ in range(64):
        apart, label = rng.uniform(0, 4), rng.integers(0, 4, 200)
        noise = rng.normal(size=(200, 3))
        width = np.exp(rng.normal(size=(4, 3)) / 2)
        many.append(rng.normal(size=(4, 3))[label] * apart + noise * width[label])
    x = np.stack(many)[[4, 7, 16, 29, 31, 35, 51, 60]]
    fits = jax.jit(jax.vmap(lambda x: mixture.fit(mixture.init(KEY, x, k=3), x)))(x)
    assert (jaxml.check(fits).residual <= 1e-5).all()
    for i, rows in enumerate(x):
        params = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i], float), fits.params)
        params = replace(params, weights=params.weights / params.weights.sum())
        peer = _peer(params, "full", tol=1e-9, max_iter=3000).fit(rows)
        with jax.enable_x64(True):
            cost = float(mixture.cost(params, rows))
        assert cost - -peer.score(rows) < 5e-5


def test_rows_of_weight_0_are_not_there(x64):
    """Whatever they hold, even what has no square."""
    for far in (1e6, 1e200):
        x = np.concatenate([X, np.full((9, N), far), np.full((9, N), -far)])
        weights = np.r_[np.ones(M), np.zeros(18)]
        start = mixture.init(KEY, X, k=K)
        one, two = mixture.fit(start, x, weights=weights), mixture.fit(start, X)
        for a, b in leaves(one.params, two.params):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(one.cost, two.cost, rtol=1e-10)


def test_cost_never_rises(x64):
    params, costs = mixture.init(KEY, X, k=K), []
    for _ in range(15):
        costs.append(float(mixture.cost(params, X)))
        params = mixture.step(params, X, floor=0.0)
    assert np.all(np.diff(costs) <= 1e-12)
    assert costs[-1] < costs[0]


def test_integer_weights_are_repeated_rows(x64):
    weights = np.random.default_rng(1).integers(0, 4, M)
    start = mixture.init(KEY, X, k=K, weights=weights)
    one = mixture.fit(start, X, weights=weights)
    two = mixture.fit(start, np.repeat(X, weights, axis=0))
    for a, b in leaves(one.params, two.params):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-10)


@pytest.mark.parametrize("kind", cases(mixture.KINDS, quick=["full"]))
def test_samples_have_the_moments(kind, x64):
    """Mean and covariance of 40,000 draws within four standard errors."""
    params = mixture.init(KEY, X, k=K, covariance=kind)
    drawn = np.asarray(mixture.sample(params, KEY, count=40_000))
    sigma = np.asarray(params.covariances)
    if kind == "spherical":
        sigma = sigma[:, None, None] * np.eye(N)
    elif kind == "diagonal":
        sigma = np.stack([np.diag(s) for s in sigma])
    sigma = np.broadcast_to(sigma, (K, N, N))
    share, means = np.asarray(params.weights), np.asarray(params.means)
    mean = share @ means
    outer = means[:, :, None] * means[:, None]
    covariance = np.tensordot(share, sigma + outer, 1) - np.outer(mean, mean)
    error = 4 * np.sqrt(np.diag(covariance) / 40_000)
    assert np.all(np.abs(drawn.mean(0) - mean) < error)
    np.testing.assert_allclose(
        np.cov(drawn.T), covariance, atol=0.06 * covariance.max()
    )


def test_a_gaussian_that_collapses_is_told():
    """Two equal rows, a mean on them and no floor: the density has no bound."""
    x = np.array([[0.0], [0.0], [5.0], [6.0], [7.0]])
    start = mixture.Params(
        np.array([0.5, 0.5]), np.array([[0.0], [6.0]]), np.array([[[1e-2]], [[1.0]]])
    )
    fit = mixture.fit(start, x, floor=0.0)
    assert fit.status == Status.SINGULAR
    jaxml.check(mixture.fit(start, x, floor=1e-3))


def test_anomalies(x64):
    """The exercise of the course: a Gaussian, and the ε of the greatest F1."""
    rare = np.random.default_rng(2).uniform(-12, 12, (9, N))
    both = np.concatenate([X, rare])
    y = np.r_[np.zeros(M, int), np.ones(9, int)]
    fit = mixture.fit(mixture.init(KEY, X, k=K), X)
    score = -mixture.log_density(fit.params, both)
    found = metrics.f1_threshold(y, score)
    brute = [metrics.f1(y, np.asarray(score >= s), k=2)[1] for s in score]
    np.testing.assert_allclose(found.f1, max(brute), rtol=1e-12)
    np.testing.assert_allclose(
        metrics.f1(y, np.asarray(score >= found.value), k=2)[1], found.f1, rtol=1e-12
    )
    assert found.f1 > 0.8


def test_same_key_same_bits():
    def run():
        fit = mixture.fit(mixture.init(KEY, X, k=K), X)
        return b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(fit))

    assert len({run() for _ in range(10)}) == 1


def test_bad_arguments():
    params = _sample(0)
    assert jnp.isnan(mixture.cost(replace(params, covariances=-params.covariances), X))
    with pytest.raises(ValueError, match="^covariance must be one of 'full', 'tied'"):
        mixture.init(KEY, X, k=K, covariance="diag")
    for function in (mixture.log_density, mixture.criteria):
        with pytest.raises(
            ValueError, match="^params.covariance must be one of 'full'"
        ):
            function(replace(params, covariance="diag"), X)
    with pytest.raises(ValueError, match=r"^params.covariances has shape \(3, 3, 3\)"):
        mixture.log_density(replace(params, covariance="tied"), X)
    with pytest.raises(ValueError, match=r"^params.means has shape \(3, 3\)"):
        mixture.predict(params, X[:, :2])


def test_one_trace_for_all_values():
    start = mixture.init(KEY, X, k=K)
    mixture.fit(start, X, weights=np.ones(M))
    before = mixture.fit.traces
    for i in range(1, 4):
        mixture.fit(start, X + i, weights=np.ones(M) * i, floor=i / 10, tol=1e-2 / i)
    assert mixture.fit.traces == before
