"""Kernel principal components against scikit-learn, linear ones and differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import KernelPCA

from jaxml import check
from jaxml.optimize import Status, recipe
from jaxml.reduction import kernel_pca, pca
from jaxml.regression import kernels

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
NEW = RNG.normal(size=(8, 3))
OPTIONS = {"gamma": 0.4, "offset": 0.7, "degree": 2}
PEER = {"rbf": "rbf", "polynomial": "poly", "linear": "linear"}
_FIT = kernel_pca.fit(X[:12], k=2, gamma=0.5)
SAMPLES = {
    "params": jax.tree.map(np.asarray, _FIT.params),
    "k": 2,
    "gamma": 0.5,
    "transform.x": X[:12],
}


def same_up_to_signs(a, b, **tolerance):
    sign = np.sign(np.sum(np.asarray(a) * b, axis=0))
    np.testing.assert_allclose(np.asarray(a) * sign, b, **tolerance)


@pytest.mark.parametrize("kernel", PEER)
def test_scikit_learn(kernel, x64):
    fit = check(kernel_pca.fit(X, k=2, kernel=kernel, **OPTIONS))
    peer = KernelPCA(2, kernel=PEER[kernel], gamma=0.4, coef0=0.7, degree=2).fit(X)
    np.testing.assert_allclose(fit.params.variances * 30, peer.eigenvalues_)
    for x in (X, NEW):
        z = kernel_pca.transform(fit.params, x, kernel=kernel, **OPTIONS)
        same_up_to_signs(z, peer.transform(x), atol=1e-10)
    assert fit.residual < 1e-13


def test_linear_kernel_is_pca(x64):
    """With weights as well; z, variances and cost, of new rows too."""
    weights = RNG.uniform(0.5, 2, 30)
    one = check(kernel_pca.fit(X + 3, k=2, kernel="linear", weights=weights))
    two = check(pca.fit(X + 3, k=2, weights=weights))
    np.testing.assert_allclose(one.params.variances, two.params.variances)
    np.testing.assert_allclose(one.params.total, two.params.total)
    np.testing.assert_allclose(one.cost, two.cost)
    z = kernel_pca.transform(one.params, NEW, kernel="linear")
    same_up_to_signs(z, np.asarray(pca.transform(two.params, NEW)), atol=1e-12)


def test_weights_are_repeated_rows(x64):
    counts = RNG.integers(0, 3, 30)
    one = check(kernel_pca.fit(X, k=2, gamma=0.4, weights=counts)).params
    two = check(kernel_pca.fit(np.repeat(X, counts, axis=0), k=2, gamma=0.4)).params
    np.testing.assert_allclose(one.variances, two.variances)
    z = [kernel_pca.transform(p, NEW, gamma=0.4) for p in (one, two)]
    same_up_to_signs(z[0], np.asarray(z[1]), atol=1e-10)


def test_circles():
    """Two rings, which no direction of the plane tells apart, and one of φ does."""
    turn = RNG.uniform(0, 2 * np.pi, 200)
    ring = np.arange(200) % 2
    x = np.c_[np.cos(turn), np.sin(turn)] * (0.3 + 0.7 * ring)[:, None]
    fit = check(kernel_pca.fit(x, k=3, gamma=4.0))
    z = np.asarray(kernel_pca.transform(fit.params, x, gamma=4.0))
    # Each component by its best threshold.
    best = max(
        max(np.mean((c > t) == ring), np.mean((c <= t) == ring)) for c in z.T for t in c
    )
    assert best > 0.99
    assert np.std(z[:, 0]) ** 2 == pytest.approx(
        float(fit.params.variances[0]), rel=1e-3
    )


def test_kernels_of_ones_own(x64):
    options = recipe(kernels.matern, smoothness=2.5)
    fit = check(kernel_pca.fit(X, k=2, kernel=options, gamma=0.4))
    gram = np.asarray(kernels.matern(X, X, gamma=0.4, smoothness=2.5))
    centre = np.eye(30) - 1 / 30
    wanted = np.linalg.eigvalsh(centre @ gram @ centre / 30)[::-1][:2]
    np.testing.assert_allclose(fit.params.variances, wanted)


def test_derivatives(x64):
    """Of squared distances between new rows, in the width and the rows fitted to."""

    @jax.jit
    def of(gamma, x):
        params = kernel_pca.fit(x, k=2, gamma=gamma).params
        z = kernel_pca.transform(params, NEW, gamma=gamma)
        return jnp.sum(jnp.sin(jnp.sum((z[:, None] - z[None]) ** 2, axis=2)))

    direction, h = RNG.normal(size=X.shape), 1e-5
    slope = jax.grad(of, (0, 1))(0.4, X)
    numeric = (of(0.4 + h, X) - of(0.4 - h, X)) / (2 * h)
    np.testing.assert_allclose(slope[0], numeric, rtol=1e-7)
    numeric = (of(0.4, X + h * direction) - of(0.4, X - h * direction)) / (2 * h)
    np.testing.assert_allclose(np.vdot(slope[1], direction), numeric, rtol=1e-6)


def test_no_derivative_of_what_is_singular(x64):
    """Five directions of three columns: two have no variance."""
    width = lambda k, scale: kernel_pca.fit(scale * X, k=k, kernel="linear").cost
    slopes = [jax.jit(jax.grad(partial(width, k)))(1.0) for k in (2, 5)]
    np.testing.assert_allclose(slopes[0], 2 * width(2, 1.0))
    assert np.isnan(slopes[1])


def test_refused():
    with pytest.raises(ValueError, match="^k must be below m = 30, not 30"):
        kernel_pca.fit(X, k=30)
    with pytest.raises(ValueError, match="^kernel must be one of"):
        kernel_pca.fit(X, k=2, kernel="cosine")
    with pytest.raises(ValueError, match="shape"):
        kernel_pca.transform(_FIT.params, X[:, :2])
    assert kernel_pca.fit(X, k=5, kernel="linear").status == Status.SINGULAR
    assert kernel_pca.fit(np.ones((9, 3)), k=2).status == Status.SINGULAR
