"""Mixtures of Gaussians against scikit-learn, SciPy and the identities of EM."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

import jaxml
from jaxml.evaluate import metrics
from jaxml.optimize.fit import Status
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


def _peer(params, kind, **options):
    sigma = np.asarray(params.covariances)
    inverse = np.linalg.inv(sigma) if kind in ("full", "tied") else 1 / sigma
    return GaussianMixture(
        K,
        covariance_type=PEER[kind],
        weights_init=np.asarray(params.weights),
        means_init=np.asarray(params.means),
        precisions_init=inverse,
        **options,
    )


@pytest.mark.parametrize("kind", cases(mixture.KINDS, quick=["full", "diagonal"]))
def test_is_scikit_learns(kind, x64):
    start = mixture.init(KEY, X, k=K, covariance=kind)
    fit = jaxml.check(mixture.fit(start, X, covariance=kind, tol=1e-9, max_iter=500))
    peer = _peer(start, kind, tol=1e-9, max_iter=500).fit(X)
    np.testing.assert_allclose(fit.cost, -peer.score(X), rtol=1e-8)
    np.testing.assert_allclose(fit.params.weights, peer.weights_, atol=1e-4)
    np.testing.assert_allclose(fit.params.means, peer.means_, atol=1e-3)
    np.testing.assert_allclose(fit.params.covariances, peer.covariances_, atol=1e-3)
    density = mixture.log_density(fit.params, X, covariance=kind)
    np.testing.assert_allclose(density, peer.score_samples(X), atol=1e-3)
    odds = mixture.responsibilities(fit.params, X, covariance=kind)
    np.testing.assert_allclose(odds, peer.predict_proba(X), atol=1e-3)
    np.testing.assert_array_equal(
        mixture.predict(fit.params, X, covariance=kind), odds.argmax(1)
    )
    found = mixture.criteria(fit.params, X, covariance=kind)
    np.testing.assert_allclose(found.aic, peer.aic(X), rtol=1e-7)
    np.testing.assert_allclose(found.bic, peer.bic(X), rtol=1e-7)


def test_density_is_that_of_scipy(x64):
    params = _sample(0)
    each = [
        share * multivariate_normal(mean, sigma).pdf(X)
        for share, mean, sigma in zip(*params, strict=True)
    ]
    np.testing.assert_allclose(
        mixture.log_density(params, X), np.log(sum(each)), rtol=1e-10
    )


@pytest.mark.parametrize("kind", cases(["full", "tied"], quick=["full"]))
def test_both_passes_are_one_step(kind, x64, monkeypatch):
    """Products of columns and differences from means give the same sums."""
    start = mixture.init(KEY, X, k=K, covariance=kind)
    one = mixture.step(start, X + 7, covariance=kind)
    monkeypatch.setattr(mixture, "WIDE", 1)
    jax.clear_caches()
    two = mixture.step(start, X + 7, covariance=kind)
    for a, b in zip(one, two, strict=True):
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
    for a, b in zip(one.params, two.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-10)


@pytest.mark.parametrize("kind", cases(mixture.KINDS, quick=["full"]))
def test_samples_have_the_moments(kind, x64):
    """Mean and covariance of 40,000 draws within four standard errors."""
    params = mixture.init(KEY, X, k=K, covariance=kind)
    drawn = np.asarray(mixture.sample(params, KEY, count=40_000, covariance=kind))
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
    found = metrics.threshold(y, score)
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
    with pytest.raises(ValueError, match="^covariance must be one of 'full', 'tied'"):
        mixture.log_density(params, X, covariance="diag")
    with pytest.raises(ValueError, match=r"^params.covariances has shape \(3, 3, 3\)"):
        mixture.log_density(params, X, covariance="tied")
    with pytest.raises(ValueError, match=r"^params.means has shape \(3, 3\)"):
        mixture.predict(params, X[:, :2])
    assert jnp.isnan(mixture.cost(params._replace(covariances=-params[2]), X))


def test_one_trace_for_all_values():
    start = mixture.init(KEY, X, k=K)
    mixture.fit(start, X, weights=np.ones(M))
    before = mixture.fit.traces
    for i in range(1, 4):
        mixture.fit(start, X + i, weights=np.ones(M) * i, floor=i / 10, tol=1e-2 / i)
    assert mixture.fit.traces == before
