"""Statistics of parts, merged in any order, are those of the whole."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import check
from jaxml.reduction import pca
from tests.common.samples import Made
from tests.test_principal import repeated


def some(seed):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(5, 3))
    return pca.Moments(
        np.array(4.0 + seed), rng.normal(size=3), half.T @ half * np.array(1.0)
    )


SAMPLES = {
    "a": Made(some),
    "b": Made(lambda s: some(s + 7)),
    "moments": Made(some),
    "k": 2,
}
X = np.random.default_rng(0).normal(size=(90, 5)) * np.arange(1, 6) + 3
PARTS = [X[:7], X[7:40], X[40:41], X[41:]]


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_order_and_grouping_do_not_matter(shift):
    """Rounding apart, in float32, also far from the origin."""
    exact = X + np.float32(shift)
    found = [pca.moments((part + shift).astype("f")) for part in PARTS]
    for order in itertools.permutations(found):
        ab, cd = pca.merge(*order[:2]), pca.merge(*order[2:])
        for whole in (functools.reduce(pca.merge, order), pca.merge(ab, cd)):
            assert whole.weight == 90
            np.testing.assert_allclose(whole.mean, exact.mean(axis=0), rtol=1e-6)
            scatter = np.cov(exact.T, bias=True) * 90
            bound = 1e-6 * np.abs(scatter).max() + 1e-2 * (shift > 0)
            np.testing.assert_allclose(whole.scatter, scatter, atol=20 * bound)


def test_components_of_merged_parts(x64):
    """As of all rows at once; weights count rows; a scan carries it over batches."""
    counts = np.random.default_rng(1).integers(0, 3, 90)
    parts = np.split(X, 3), np.split(counts, 3)
    found = [pca.moments(x, weights=w) for x, w in zip(*parts, strict=True)]
    whole = functools.reduce(pca.merge, found)
    assert whole.weight == counts.sum()
    exact = check(pca.fit(X, k=3, weights=counts))
    for a, b in zip(pca.from_moments(whole, k=3), exact.params, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)

    @jax.jit
    def scanned(batches):
        def add(kept, x):
            return pca.merge(kept, pca.moments(x)), None

        nothing = pca.Moments(jnp.zeros(()), jnp.zeros(5), jnp.zeros((5, 5)))
        return jax.lax.scan(add, nothing, batches)[0]

    whole = scanned(X.reshape(9, 10, 5))
    params = pca.from_moments(whole, k=3)
    for a, b in zip(params, pca.fit(X, k=3).params, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_derivatives(x64):
    """Safe where variances coincide, as those of `fit`."""
    x = repeated()

    def error(find):
        def of(x):
            again = pca.reconstruct(find(x), x[:, ::-1])
            return jnp.sum((again - x) ** 2 * jnp.arange(6.0)[None])

        return jax.jit(jax.grad(of))(x)

    one = error(lambda x: pca.from_moments(pca.moments(x), k=3))
    two = error(lambda x: pca.fit(x, k=3).params)
    np.testing.assert_allclose(one, two, atol=1e-10)


def test_refused():
    a, b = pca.moments(X), pca.moments(X[:, :4])
    with pytest.raises(ValueError, match=r"^b.mean has shape|^a.mean has shape"):
        pca.merge(a, b)
    with pytest.raises(ValueError, match="^k must be at most n = 5"):
        pca.from_moments(a, k=6)
