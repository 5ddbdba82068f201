"""Kernel principal components against scikit-learn, linear ones and differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import KernelPCA

from jaxml import Status, check
from jaxml.reduction import kernel_pca, pca
from jaxml.reduction._eigen import leading
from jaxml.regression import kernels

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
NEW = RNG.normal(size=(8, 3))
OPTIONS = {"gamma": 0.4, "offset": 0.7}
SQUARE = partial(kernels.polynomial, degree=2)
KERNELS = {"rbf": "rbf", "poly": SQUARE, "linear": "linear"}
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


@pytest.mark.parametrize("name", KERNELS)
def test_scikit_learn(name, x64):
    fit = check(kernel_pca.fit(X, k=2, kernel=KERNELS[name], **OPTIONS))
    peer = KernelPCA(2, kernel=name, gamma=0.4, coef0=0.7, degree=2).fit(X)
    np.testing.assert_allclose(fit.params.variances * 30, peer.eigenvalues_)
    for x in (X, NEW):
        z = kernel_pca.transform(fit.params, x)
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
    z = kernel_pca.transform(one.params, NEW)
    same_up_to_signs(z, np.asarray(pca.transform(two.params, NEW)), atol=1e-12)


def test_weights_are_repeated_rows(x64):
    counts = RNG.integers(0, 3, 30)
    one = check(kernel_pca.fit(X, k=2, gamma=0.4, weights=counts)).params
    two = check(kernel_pca.fit(np.repeat(X, counts, axis=0), k=2, gamma=0.4)).params
    np.testing.assert_allclose(one.variances, two.variances)
    z = [kernel_pca.transform(p, NEW) for p in (one, two)]
    same_up_to_signs(z[0], np.asarray(z[1]), atol=1e-10)


def test_circles():
    """Two rings, which no direction of the plane tells apart, and one of φ does."""
    turn = RNG.uniform(0, 2 * np.pi, 200)
    ring = np.arange(200) % 2
    x = np.c_[np.cos(turn), np.sin(turn)] * (0.3 + 0.7 * ring)[:, None]
    fit = check(kernel_pca.fit(x, k=3, gamma=4.0))
    z = np.asarray(kernel_pca.transform(fit.params, x))
    # Each component by its best threshold.
    best = max(
        max(np.mean((c > t) == ring), np.mean((c <= t) == ring)) for c in z.T for t in c
    )
    assert best > 0.99
    assert np.std(z[:, 0]) ** 2 == pytest.approx(
        float(fit.params.variances[0]), rel=1e-3
    )


# --- many rows ------------------------------------------------------------------------

MANY = RNG.normal(size=(600, 3)) * [3, 2, 1]
COUNTS = np.arange(600) % 3


def by_numpy(x, k, weights, gamma=0.1):
    """Variances, and z of the rows, from the whole matrix in float64."""
    x = x.astype(float)
    p = weights / weights.sum()
    gram = np.exp(-gamma * np.sum((x[:, None] - x[None]) ** 2, axis=2))
    inner = gram - (gram @ p)[:, None] - (p @ gram)[None] + p @ gram @ p
    root = np.sqrt(p)
    values, u = np.linalg.eigh(root[:, None] * inner * root)
    z = inner @ (root[:, None] * u[:, ::-1][:, :k]) / np.sqrt(values[::-1][:k])
    return values[::-1], z


@pytest.mark.parametrize(
    "way", [pytest.param("matrix", marks=pytest.mark.long), "blocks"]
)
def test_few_directions_of_many(way, monkeypatch):
    """Iterated for, with a matrix and without: float32 beside NumPy's float64."""
    if way == "blocks":
        monkeypatch.setattr(kernel_pca, "LARGE", 100)
        monkeypatch.setattr(kernel_pca, "ENTRIES", 50 * 600)
    jax.clear_caches()
    run = jax.jit(lambda x, w: kernel_pca.fit(x, k=3, gamma=0.1, weights=w))
    fit = check(run(MANY, COUNTS))
    values, z = by_numpy(MANY, 3, COUNTS)
    np.testing.assert_allclose(fit.params.variances, values[:3], rtol=1e-5)
    same_up_to_signs(kernel_pca.transform(fit.params, MANY), z, atol=1e-4)
    np.testing.assert_allclose(fit.cost, values[3:].sum(), rtol=1e-5)
    assert fit.residual < 2e-5
    slope = jax.jit(jax.grad(lambda g: kernel_pca.fit(MANY, k=3, gamma=g).cost))(0.1)
    if way == "blocks":
        space = run.lower(MANY, COUNTS * 1.0).compile().memory_analysis()
        assert space.temp_size_in_bytes < 600 * 600 * 4
        assert np.isnan(slope)
    else:
        total = lambda g: by_numpy(MANY, 3, np.ones(600), g)[0][3:].sum()
        numeric = (total(0.1 + 1e-5) - total(0.1 - 1e-5)) / 2e-5
        np.testing.assert_allclose(slope, numeric, rtol=1e-3)
    jax.clear_caches()


@pytest.mark.parametrize("fall", ["slow", "one", "none", "equal", "beyond squares"])
def test_iterated_pairs(fall, x64):
    """Of matrices with spectra of all kinds; what is said to be right is."""
    n = 600
    spectrum = {
        "slow": np.linspace(1, 0.5, n),
        "one": np.r_[1, np.zeros(n - 1)],
        "none": np.zeros(n),
        "equal": np.r_[np.ones(5), 0.5 * np.ones(n - 5)],
        "beyond squares": 0.97 ** np.arange(n) * 1e-30,
    }[fall]
    q = np.linalg.qr(np.random.default_rng(1).normal(size=(n, n)))[0]
    matrix = (q * spectrum @ q.T).astype("f")
    values, u = map(np.asarray, leading(jnp.asarray((matrix + matrix.T) / 2), 3))
    atol = 1e-5 * spectrum.max()
    np.testing.assert_allclose(values, spectrum[:3], rtol=1e-5, atol=atol)
    np.testing.assert_allclose(u.T @ u, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(matrix @ u, u * values, atol=2 * atol)


# --- what is hard ---------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS.values())
def test_one_row_far_away(kernel):
    """Variances as in float64, or status SINGULAR; a cost is never below 0."""
    x = X.astype("f")
    x[3] = 1e6
    fit = kernel_pca.fit(x, k=2, kernel=kernel, **OPTIONS)
    assert fit.cost >= 0
    if kernel != "rbf":
        assert fit.status == Status.SINGULAR
    else:
        values, _ = by_numpy(x, 2, np.ones(30), 0.4)
        np.testing.assert_allclose(check(fit).params.variances, values[:2], rtol=1e-5)


def test_linear_kernel_far_from_the_origin():
    """A thousand widths away, in float32: nothing changes."""
    x = (np.rint(X * 2**10) / 2**10).astype("f")
    one, two = (check(kernel_pca.fit(c, k=2, kernel="linear")) for c in (x, x + 1024))
    np.testing.assert_allclose(two.params.variances, one.params.variances, rtol=1e-5)
    z = [
        kernel_pca.transform(fit.params, rows)
        for fit, rows in ((one, x), (two, x + 1024))
    ]
    same_up_to_signs(z[1], np.asarray(z[0]), atol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS.values())
def test_rows_of_weight_0_are_not_there(kernel):
    x = np.concatenate([X, np.full((4, 3), 1e6), np.full((4, 3), -1e6)])
    weights = np.r_[np.ones(30), np.zeros(8)]
    options = {"k": 2, "kernel": kernel, **OPTIONS}
    one = check(kernel_pca.fit(x, weights=weights, **options))
    two = check(kernel_pca.fit(X, **options))
    np.testing.assert_allclose(one.params.variances, two.params.variances, rtol=1e-5)
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-4)
    z = [kernel_pca.transform(fit.params, NEW) for fit in (one, two)]
    same_up_to_signs(z[0], np.asarray(z[1]), atol=1e-4)


def test_kernels_of_ones_own(x64):
    smooth = partial(kernels.matern, smoothness=2.5)
    fit = check(kernel_pca.fit(X, k=2, kernel=smooth, gamma=0.4))
    gram = np.asarray(kernels.matern(X, X, gamma=0.4, smoothness=2.5))
    centre = np.eye(30) - 1 / 30
    wanted = np.linalg.eigvalsh(centre @ gram @ centre / 30)[::-1][:2]
    np.testing.assert_allclose(fit.params.variances, wanted)


def test_derivatives(x64):
    """Of squared distances between new rows, in the width and the rows fitted to."""

    @jax.jit
    def of(gamma, x):
        params = kernel_pca.fit(x, k=2, gamma=gamma).params
        z = kernel_pca.transform(params, NEW)
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
