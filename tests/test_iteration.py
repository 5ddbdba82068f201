"""Iterations for principal components against the closed form, and rules that learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import Status, check
from jaxml.reduction import pca
from tests.test_principal import PARAMS, SHAPES, K, aligned, data, repeated

SAMPLES = {
    "params": PARAMS,
    "n": 3,
    "k": 2,
    "oja.learning_rate": 0.05,
    "sanger.learning_rate": 0.05,
    "power.tol": 1e-6,
    "randomised.tol": 1e-6,
}
UNIQUE = {"power": "whatever the start, it ends in the principal directions"}


def start(x, k=K, seed=0):
    return pca.init(jax.random.key(seed), n=x.shape[1], k=k)


def iterated(x, name, tol, **options):
    """A fit of K directions by iteration."""
    if name == "power":
        params = start(x, options.pop("k", K))
        return pca.power(params, x, tol=tol, max_iter=3000, **options)
    options = {"k": K, "oversample": 1, **options}
    return pca.randomised(jax.random.key(1), x, tol=tol, max_iter=3000, **options)


@pytest.mark.parametrize("name", ["power", "randomised"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_closed_form(shape, name, x64):
    x = data(shape)
    weights = np.random.default_rng(2).uniform(0.5, 2, 40) if shape == "tall" else None
    exact = check(pca.fit(x, k=K, weights=weights))
    fit = check(iterated(x, name, 1e-10, weights=weights))
    for a, b in zip(fit.params, exact.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(fit.cost, exact.cost)
    assert fit.residual <= 1e-10
    assert fit.steps > 0


@pytest.mark.parametrize("name", ["power", "randomised"])
def test_variances_are_right_to_the_square(name, x64):
    """A residual of ε leaves an error of ε² in variances, and says how large it is."""
    x, tol = data("tall"), 1e-3
    fit = check(iterated(x, name, tol))
    exact = np.asarray(pca.fit(x, k=K + 1, solver="eigen").params.variances)
    bound = (tol * exact[0]) ** 2 / (exact[K - 1] - exact[K])
    error = np.abs(np.asarray(fit.params.variances) - exact[:K]).max()
    assert 0 < error < 3 * bound
    covariance = np.cov(x.T, bias=True)
    u = np.asarray(fit.params.u)
    error = covariance @ u - u * np.asarray(fit.params.variances)
    size = np.linalg.norm(error, axis=0).max() / np.asarray(fit.params.variances)[0]
    np.testing.assert_allclose(fit.residual, size, rtol=1e-6)


@pytest.mark.long
def test_passes_over_rows_agree_with_the_matrix(x64):
    """Where Σ is not formed: more columns than uses, rows in blocks, weights."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4100, 60)) * np.geomspace(5, 1e-3, 60) + 3
    weights = rng.uniform(0.5, 2, len(x))
    exact = check(pca.fit(x, k=2, weights=weights))
    key = jax.random.key(0)
    options = {"k": 2, "weights": weights, "oversample": 2, "tol": 1e-4}
    few = check(pca.randomised(key, x, max_iter=14, **options))  # 4 x 14 < 60
    many = check(pca.randomised(key, x, max_iter=20, **options))
    assert few.steps == many.steps
    np.testing.assert_allclose(few.params.u, many.params.u, atol=1e-12)
    np.testing.assert_allclose(few.params.u, exact.params.u, atol=1e-3)
    np.testing.assert_allclose(few.params.total, exact.params.total)


def test_statuses():
    x = data("tall", np.float32)
    assert pca.power(start(x), x, tol=1e-6, max_iter=2).status == Status.EXHAUSTED
    assert pca.power(start(x), x, tol=0.0).status == Status.STALLED
    constant = pca.power(start(x), np.ones_like(x))
    assert constant.status == Status.CONVERGED
    np.testing.assert_array_equal(constant.params.variances, 0)
    for k in (8, 41):
        with pytest.raises(ValueError, match=r"^k must be at most min\(m, n\) = 7"):
            pca.randomised(jax.random.key(0), x, k=k)
    with pytest.raises(ValueError, match="^params have k = 4 directions; min"):
        pca.power(start(x), x[:3])
    with pytest.raises(ValueError, match="^k must be at most n = 7"):
        start(x, 8)
    with pytest.raises(ValueError, match="^oversample must be at least 0"):
        pca.randomised(jax.random.key(0), x, k=2, oversample=-1)
    with pytest.raises(ValueError, match="params.mean has shape"):
        pca.power(start(x), x[:, :6])


def test_far_from_the_origin():
    x = data("tall", np.float32) + np.float32(1e4)
    exact = pca.fit(x.astype(float) - 1e4, k=K).params
    for name in ("power", "randomised"):
        fit = check(iterated(x, name, 1e-5))
        np.testing.assert_allclose(fit.params.variances, exact.variances, rtol=3e-5)


def test_the_same_bits():
    x = data("wide", np.float32)
    found = {
        np.asarray(iterated(x, "randomised", 1e-4).params.u).tobytes()
        for _ in range(10)
    }
    assert len(found) == 1


@pytest.mark.parametrize("name", ["power", "randomised"])
def test_derivatives(name, x64):
    """Those of the closed form, where variances coincide too; NaN unconverged."""
    x, target = repeated(), np.random.default_rng(8).normal(size=(12, 6))

    def slope(fit):
        def error(x):
            again = pca.reconstruct(fit(x).params, target)
            return jnp.sum((again - target) ** 2 * jnp.arange(6.0)[None])

        return jax.jit(jax.grad(error))(x)

    ours = slope(lambda x: iterated(x, name, 1e-12, k=3))
    np.testing.assert_allclose(ours, slope(lambda x: pca.fit(x, k=3)), atol=1e-9)
    early = slope(lambda x: pca.power(start(x, 3), x, tol=1e-12, max_iter=1))
    assert np.isnan(early).all()


# --- steps and rules ------------------------------------------------------------------


def test_step_is_what_power_repeats(x64):
    x = data("tall")
    params, step = start(x), jax.jit(pca.step)
    covariance = np.cov(x.T, bias=True)
    for _ in range(3):
        span = np.linalg.qr(covariance @ np.asarray(params.u))[0]
        params = step(params, x)
        np.testing.assert_allclose(params.u @ params.u.T, span @ span.T, atol=1e-12)
    for _ in range(400):
        params = step(params, x)
    exact = pca.fit(x, k=K).params
    for a, b in zip(params, exact, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_rules_by_hand(x64):
    """Each as its formula has it, in loops, for one row."""
    rng = np.random.default_rng(4)
    u, x, mu = rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=3)
    params = PARAMS._replace(u=u, mean=mu)
    z = u.T @ (x - mu)
    oja, sanger = u.copy(), u.copy()
    for j in range(2):
        oja[:, j] += 0.1 * z[j] * (x - mu - sum(u[:, i] * z[i] for i in range(2)))
        left = x - mu - sum(u[:, i] * z[i] for i in range(j + 1))
        sanger[:, j] += 0.1 * z[j] * left
    one = x[None]
    np.testing.assert_allclose(pca.oja(params, one, learning_rate=0.1).u, oja)
    np.testing.assert_allclose(pca.sanger(params, one, learning_rate=0.1).u, sanger)
    two = pca.sanger(
        params, np.stack([x, 2 * x]), learning_rate=0.1, weights=np.array([3, 0])
    )
    np.testing.assert_allclose(two.u, sanger)
    assert pca.oja(params, one, learning_rate=0.1).total == 0.9 * 3.2 + 0.1 * np.sum(
        (x - mu) ** 2
    )


@pytest.mark.parametrize("rule", [pca.oja, pca.sanger])
def test_rules_learn_row_by_row(rule):
    """A scan over 20,000 rows with a falling rate finds what `fit` finds."""
    rng = np.random.default_rng(5)
    scales = np.array([3, 2, 1, 0.5, 0.3])
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    x = (rng.normal(size=(20_000, 5)) * scales) @ axes.T
    exact = pca.fit(x, k=2).params
    first = start(x, 2)._replace(mean=exact.mean)
    rates = 1 / (100.0 + np.arange(len(x)))

    @jax.jit
    def run(params, x, rates):
        def one(params, row):
            x, rate = row
            return rule(params, x[None], learning_rate=rate), None

        return jax.lax.scan(one, params, (x, rates))[0]

    found = run(first, x.astype("f"), rates.astype("f"))
    u = np.asarray(found.u)
    np.testing.assert_allclose(u.T @ u, np.eye(2), atol=0.02)
    projector = np.asarray(exact.u) @ np.asarray(exact.u).T
    np.testing.assert_allclose(u @ u.T, projector, atol=0.05)
    if rule is pca.sanger:
        assert aligned(u, exact.u).min() > 0.999
        np.testing.assert_allclose(found.variances, exact.variances, rtol=0.05)
    np.testing.assert_allclose(found.total, exact.total, rtol=0.05)


def test_oja_is_the_power_method_of_a_neuron():
    """k = 1: the first principal direction, up to its sign, and of length 1."""
    x = data("tall", np.float32)
    exact = pca.fit(x, k=1).params
    first = start(x, 1)._replace(mean=exact.mean)
    rule = lambda _, params: pca.oja(params, x, learning_rate=0.05)
    found = jax.jit(lambda p: jax.lax.fori_loop(0, 500, rule, p))(first)
    np.testing.assert_allclose(aligned(found.u, exact.u), 1, atol=1e-5)
    np.testing.assert_allclose(found.variances, exact.variances, rtol=1e-4)


def test_init_is_uniform():
    """Orthonormal, and each entry has mean 0 and variance 1/n."""
    keys = jax.random.split(jax.random.key(0), 2000)
    u = jax.jit(jax.vmap(lambda key: pca.init(key, n=4, k=2).u))(keys)
    u = np.asarray(u)
    gram = np.einsum("sni,snj->sij", u, u)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(2), gram.shape), atol=1e-5)
    assert np.abs(u.mean(axis=0)).max() < 4 * 0.5 / 2000**0.5
    np.testing.assert_allclose((u**2).mean(axis=0), 0.25, atol=0.03)
