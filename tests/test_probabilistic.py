"""The Gaussian model of principal components, against SciPy, scikit-learn and draws."""

import jax
import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition._pca import _assess_dimension

from jaxml import check
from jaxml.reduction import pca
from tests.test_principal import PARAMS, K, data

SAMPLES = {"params": PARAMS, "count": 5}


def covariance(params):
    """U S Uᵀ + σ²(1 - U Uᵀ), (n, n)."""
    u = np.asarray(params.u)
    s, noise = np.asarray(params.variances), np.asarray(params.noise)
    return (u * s) @ u.T + noise * (np.eye(len(u)) - u @ u.T)


@pytest.mark.parametrize("k", [K, 7])
def test_log_likelihood(k, x64):
    """Of SciPy's normal distribution, for some directions and for all of them."""
    x = data("tall")
    params = check(pca.fit(x, k=k)).params
    peer = stats.multivariate_normal(params.mean, covariance(params))
    np.testing.assert_allclose(pca.log_likelihood(params, x), peer.logpdf(x))


def test_the_fit_is_the_most_likely_model(x64):
    """Other means, directions, variances and noise are less likely."""
    x, rng = data("tall"), np.random.default_rng(0)
    best = check(pca.fit(x, k=K)).params
    run = jax.jit(lambda params: pca.log_likelihood(params, x).mean())
    top = run(best)
    for size in (1e-2, 0.1):
        u = np.linalg.qr(best.u + size * rng.normal(size=best.u.shape))[0]
        assert run(best._replace(u=u)) < top
        assert run(best._replace(mean=best.mean + size)) < top
        for factor in (1 - size, 1 + size):
            assert run(best._replace(variances=best.variances * factor)) < top
            assert run(best._replace(noise=best.noise * factor)) < top


def test_posterior_by_bayes(x64):
    """Of a and x, jointly normal, that of a where x is known."""
    x = data("tall")
    params = check(pca.fit(x, k=K)).params
    w = np.asarray(params.u) * np.sqrt(np.asarray(params.variances - params.noise))
    precision = np.linalg.inv(w @ w.T + np.asarray(params.noise) * np.eye(7))
    found = pca.posterior(params, x)
    wanted = (x - np.asarray(params.mean)) @ precision @ w
    np.testing.assert_allclose(found.mean, wanted, atol=1e-12)
    wanted = np.eye(K) - w.T @ precision @ w
    np.testing.assert_allclose(np.diag(found.variance), wanted, atol=1e-12)


@pytest.mark.parametrize("k", [K, 7])
def test_draws_have_the_models_moments(k):
    params = check(pca.fit(data("tall", np.float32), k=k)).params
    x = np.asarray(pca.sample(params, jax.random.key(0), count=200_000), float)
    np.testing.assert_allclose(x.mean(axis=0), params.mean, atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), covariance(params), atol=0.08)
    like = pca.log_likelihood(params, x.astype("f"))
    entropy = stats.multivariate_normal(cov=covariance(params)).entropy()
    np.testing.assert_allclose(-np.asarray(like).mean(), entropy, rtol=2e-3)


def planes(m, n, k, noise, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(m, k)) @ rng.normal(size=(k, n))
    return x + noise * rng.normal(size=(m, n)) + 5


def test_evidence_is_minkas(x64):
    """scikit-learn's formula, of which all k come in one call; weights are counts."""
    x = planes(300, 8, 3, 0.3)
    spectrum = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    peer = [_assess_dimension(spectrum, k, len(x)) for k in range(1, 8)]
    found = pca.evidence(x)
    np.testing.assert_allclose(found, peer, rtol=1e-10)
    assert 1 + np.argmax(found) == 3
    counts = np.random.default_rng(1).integers(0, 3, len(x))
    np.testing.assert_allclose(
        pca.evidence(x, weights=counts), pca.evidence(np.repeat(x, counts, axis=0))
    )


def test_evidence_finds_the_dimension():
    """Of 20 sets in one call, in float32."""
    sets = np.stack([planes(200, 8, 4, 0.4, seed) for seed in range(20)]).astype("f")
    found = 1 + np.argmax(jax.jit(jax.vmap(pca.evidence))(sets), axis=1)
    assert np.sum(found == 4) >= 18


def test_evidence_of_a_flat_spectrum(x64):
    """From the first direction of variance 0 on, none."""
    x = planes(50, 6, 3, 0.3)
    x = np.c_[x[:, :3], x[:, :2]]
    found = np.asarray(pca.evidence(x))
    assert (found[3:] == -np.inf).all()


def test_evidence_needs_noise():
    """No more rows than columns leave none; no unit is too small or too large."""
    x = data("tall", np.float32)
    with pytest.raises(ValueError, match="^x has 7 rows of n = 7 columns"):
        pca.evidence(x[:7])
    weights = np.r_[np.ones(7), np.zeros(33)]
    assert np.isnan(pca.evidence(x, weights=weights)).all()
    one = np.asarray(pca.evidence(x))
    for exponent in (-70, 60):
        two = np.asarray(pca.evidence(x * np.float32(2.0**exponent)))
        shift = len(x) * 7 * exponent * np.log(2)
        np.testing.assert_allclose(two + shift, one, rtol=1e-3, atol=0.02)
