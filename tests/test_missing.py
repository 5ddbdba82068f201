"""Missing entries: against the closed form, the normal distribution, and truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxml import Status, check
from jaxml.reduction import pca
from jaxml.reduction.pca import missing
from tests.common.samples import Made
from tests.test_principal import PARAMS
from tests.test_probabilistic import covariance, planes


def holes(shape, seed=0, seen=0.7):
    return (np.random.default_rng(seed).random(shape) < seen).astype(float)


SAMPLES = {
    "params": PARAMS,
    "k": 2,
    "mask": Made(lambda seed: holes((12, 3), seed)),
    "fit.max_iter": 20,  # of so few rows it leaves no noise in the end
}
M, N, K = 300, 6, 2
X = planes(M, N, K, 0.3)
MASK = holes(X.shape)


def start(x=X, mask=MASK, k=K, seed=0):
    return missing.init(jax.random.key(seed), x, mask, k=k)


def test_nothing_missing_is_the_closed_form(x64):
    ones, weights = np.ones_like(X), np.random.default_rng(1).uniform(0.5, 2, M)
    fit = check(missing.fit(start(), X, ones, weights=weights, tol=1e-9))
    exact = check(pca.fit(X, k=K, weights=weights)).params
    for a, b in zip(fit.params, exact, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    like = pca.log_likelihood(exact, X)
    np.testing.assert_allclose(fit.cost, -np.average(like, weights=weights))
    np.testing.assert_allclose(
        missing.cost(exact, X, ones, weights=weights), fit.cost, rtol=1e-10
    )


def test_cost_and_imputation_by_hand(x64):
    """Each row's seen entries under their own normal distribution; the others given."""
    params = start()._replace(mean=jnp.arange(6.0))
    sigma, mu = covariance(params), np.arange(6.0)
    like, filled = np.zeros(20), X[:20].copy()
    mask = MASK[:20].copy()
    mask[0], mask[1] = 0, 1
    for i, row in enumerate(mask.astype(bool)):
        if row.any():
            block = sigma[np.ix_(row, row)]
            like[i] = stats.multivariate_normal(mu[row], block).logpdf(X[i, row])
            gain = sigma[np.ix_(~row, row)] @ np.linalg.inv(block)
            filled[i, ~row] = mu[~row] + gain @ (X[i, row] - mu[row])
        else:
            filled[i] = mu
    np.testing.assert_allclose(missing.cost(params, X[:20], mask), -like.mean())
    np.testing.assert_allclose(missing.impute(params, X[:20], mask), filled)


def test_cost_falls_to_a_stationary_point(x64):
    """Step by step never up; at the end no gradient is left. More rows than a block."""
    x = planes(700, N, K, 0.3, 3)
    mask = holes(x.shape, 4)
    fit = check(missing.fit(start(x, mask), x, mask, tol=1e-9))
    history = np.asarray(fit.history)
    history = history[np.isfinite(history)]
    assert len(history) > 5
    assert (np.diff(history) <= 1e-12).all()
    np.testing.assert_allclose(fit.cost, history[-1], rtol=1e-9)

    def of(mean, w, noise):
        model = missing._params(missing._Factors(w, mean, noise))
        return missing.cost(model, x, mask)

    p = fit.params
    w = p.u * jnp.sqrt(p.variances - p.noise)[None]
    for slope in jax.jit(jax.grad(of, (0, 1, 2)))(p.mean, w, p.noise):
        np.testing.assert_allclose(slope, 0, atol=1e-7)


def test_what_is_hidden_does_not_matter_and_is_found():
    """float32: planes of 2 dimensions in 6, with 30 % missing, 1e4 from the origin."""
    shift = np.float32(1e4)
    x = X.astype("f") + shift
    other = np.where(MASK > 0, x, 1e4).astype("f")
    fit = check(missing.fit(start(x), x, MASK, tol=1e-3))
    blind = check(missing.fit(start(other), other, MASK, tol=1e-3))
    np.testing.assert_allclose(fit.params.u, blind.params.u, atol=2e-3)
    filled = np.asarray(missing.impute(blind.params, other, MASK))
    hidden = MASK == 0
    # No worse than with the components of the complete data, by more than 3 %.
    best = np.asarray(missing.impute(pca.fit(x, k=K).params, other, MASK))
    errors = [np.sqrt(np.mean((f - x)[hidden] ** 2)) for f in (filled, best)]
    assert errors[0] < 1.03 * errors[1] < 0.5 * np.std(X)
    np.testing.assert_array_equal(filled[~hidden], x[~hidden])
    np.testing.assert_allclose(blind.params.noise**0.5, 0.3, rtol=0.1)


def test_step_and_weights(x64):
    """`fit` repeats `step`; a weight is a row that is there so many times."""
    params, step = start(), jax.jit(missing.step)
    fit = missing.fit(params, X, MASK, max_iter=3)
    assert fit.status == Status.EXHAUSTED
    for _ in range(3):
        params = step(params, X, MASK)
    for a, b in zip(fit.params, params, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    counts = np.random.default_rng(5).integers(0, 3, M)
    rows = np.repeat(X, counts, axis=0), np.repeat(MASK, counts, axis=0)
    one = missing.step(start(), X, MASK, weights=counts)
    for a, b in zip(one, missing.step(start(), *rows), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
    np.testing.assert_allclose(
        missing.cost(one, X, MASK, weights=counts), missing.cost(one, *rows)
    )


def test_refused():
    with pytest.raises(ValueError, match="^k must be at most n - 1 = 5"):
        start(k=6)
    full = pca.fit(X, k=6).params
    for function in (missing.fit, missing.cost, missing.impute, missing.step):
        with pytest.raises(ValueError, match="^params have k = 6 of n = 6"):
            function(full, X, MASK)
    with pytest.raises(ValueError, match=r"^mask must lie in \[0, 1\]"):
        missing.fit(start(), X, 2 * MASK)
    blind = MASK.copy()
    blind[:, 2] = 0
    assert missing.fit(start(), X, blind).status == Status.NONFINITE
