"""Kernels against scikit-learn, far from the origin, and against differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.gaussian_process.kernels import Matern
from sklearn.metrics import pairwise

from jaxml.regression import kernels

SAMPLES = {
    "a": np.random.default_rng(0).normal(size=(7, 3)),
    "b": np.random.default_rng(1).normal(size=(5, 3)),
    "gamma": 0.5,
    "offset": 1.5,
}
A, B = SAMPLES["a"].astype(np.float32), SAMPLES["b"].astype(np.float32)
GAMMA, OFFSET = 0.4, 0.7
HYPER = {"gamma": GAMMA, "offset": OFFSET}
# those that are more than a name
KERNELS = {
    "polynomial": partial(kernels.polynomial, degree=4),
    "smooth": partial(kernels.matern, smoothness=2.5),
}
WIDTH = 1 / np.sqrt(2 * GAMMA)
# kernel: scikit-learn's
PEERS = {
    "linear": pairwise.linear_kernel,
    "polynomial": lambda a, b: pairwise.polynomial_kernel(a, b, 4, GAMMA, OFFSET),
    "sigmoid": lambda a, b: pairwise.sigmoid_kernel(a, b, GAMMA, OFFSET),
    "rbf": lambda a, b: pairwise.rbf_kernel(a, b, GAMMA),
    "matern": lambda a, b: Matern(WIDTH, nu=1.5)(a, b),
    "laplacian": lambda a, b: pairwise.laplacian_kernel(a, b, GAMMA),
    "smooth": lambda a, b: Matern(WIDTH, nu=2.5)(a, b),
}
INVARIANT = ("rbf", "matern", "laplacian", "smooth")


def matrix(a, b, name):
    """The matrix of one of PEERS."""
    return kernels.matrix(a, b, kernel=KERNELS.get(name, name), **HYPER)


@pytest.mark.parametrize("name", PEERS)
def test_agrees_with_sklearn(name):
    ours = matrix(A, B, name)
    wanted = PEERS[name](A.astype(float), B.astype(float))
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, wanted, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", PEERS)
def test_diagonal_is_that_of_the_matrix(name):
    alone = kernels.diagonal(A, kernel=KERNELS.get(name, name), **HYPER)
    whole = matrix(A, A, name)
    np.testing.assert_allclose(alone, jnp.diagonal(whole), rtol=2e-6)
    if name in INVARIANT:
        np.testing.assert_array_equal(alone, 1)


@pytest.mark.parametrize("name", INVARIANT)
@pytest.mark.parametrize("shift", [1e3, 1e4])
def test_far_from_the_origin(name, shift):
    # The rows themselves are rounded; what is then left to lose is nothing.
    a, b = A + np.float32(shift), B + np.float32(shift)
    ours = matrix(a, b, name)
    wanted = PEERS[name](a.astype(float) - shift, b.astype(float) - shift)
    np.testing.assert_allclose(ours, wanted, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", PEERS)
def test_symmetric_and_positive(name, x64):
    x = np.random.default_rng(2).normal(size=(20, 3))
    whole = np.asarray(matrix(x, x, name))
    np.testing.assert_allclose(whole, whole.T, rtol=1e-13)
    if name != "sigmoid":
        least = np.linalg.eigvalsh(whole)[0]
        assert least > -1e-11 * np.abs(whole).max()


def test_squared_distances_are_not_negative():
    x = np.repeat(A, 3, axis=0) + np.float32(100)
    squares = kernels.squared_distances(x, x)
    assert (squares >= 0).all()
    far = np.abs(squares - np.sum((x[:, None] - x[None]) ** 2, axis=2))
    assert far.max() < 1e-5


@pytest.mark.parametrize("kernel", ["rbf", "matern", "laplacian"])
def test_gradient_where_rows_coincide(kernel, x64):
    weight = np.random.default_rng(3).normal(size=(6, 6))

    def total(x):
        return jnp.sum(weight * kernels.matrix(x, x, kernel=kernel, gamma=GAMMA))

    x = jnp.concatenate([A[:3], A[:3]]).astype(float)
    slope = np.asarray(jax.jit(jax.grad(total))(x))
    assert np.isfinite(slope).all()
    if kernel == "laplacian":
        return  # k has a kink there: 0 is one of its slopes
    for i, j in np.ndindex(3, 3):
        step = np.zeros(x.shape)
        step[i, j] = 1e-5
        numeric = (total(x + step) - total(x - step)) / 2e-5
        np.testing.assert_allclose(slope[i, j], numeric, rtol=1e-6, atol=1e-8)


def test_second_derivatives_of_rbf_where_rows_coincide(x64):
    row = jnp.array([0.3, -1.1, 2.0])
    hessian = jax.hessian(lambda a: kernels.rbf(a[None], row[None], gamma=GAMMA)[0, 0])
    np.testing.assert_allclose(hessian(row), -2 * GAMMA * np.eye(3), atol=1e-12)
    clipped = row * (1 + 1e-9)  # where the rounded square may come out below 0
    np.testing.assert_allclose(hessian(clipped), -2 * GAMMA * np.eye(3), atol=1e-7)


def test_a_kernel_of_ones_own():
    def cosine(a, b, *, gamma):
        return gamma * a @ b.T

    ours = kernels.matrix(A, B, kernel=cosine, gamma=2.0)
    np.testing.assert_allclose(ours, 2 * A @ B.T, rtol=1e-5)
    slope = jax.grad(lambda g: kernels.matrix(A, B, kernel=cosine, gamma=g).sum())(2.0)
    np.testing.assert_allclose(slope, (A @ B.T).sum(), rtol=1e-4)
    with pytest.raises(ValueError, match=r"^kernel gives shape \(7,\), not \(7, 5\)"):
        kernels.matrix(A, B, kernel=lambda a, b: a[:, 0])


@pytest.mark.parametrize("offset", [0, 5e3])
def test_scale_gamma(offset):
    x = A + np.float32(offset)
    wanted = 1 / (3 * x.astype(float).var())
    np.testing.assert_allclose(kernels.scale_gamma(x), wanted, rtol=2e-6)
    counts = np.array([2, 0, 1, 1, 3, 0, 1])
    repeated = kernels.scale_gamma(np.repeat(x, counts, axis=0))
    np.testing.assert_allclose(kernels.scale_gamma(x, weights=counts), repeated, 2e-6)
    assert kernels.scale_gamma(np.full((4, 2), 7.0)) == 1


@pytest.mark.parametrize("unit", [2.0**-64, 2.0**-40, 2.0**60])
def test_widths_in_any_unit(unit):
    """2^-64 is where the squares are lost and what divides by them is not."""
    x = A * np.float32(unit)
    wanted = 1 / (3 * A.astype(float).var()) / unit / unit
    found = jax.jit(kernels.scale_gamma)(x)
    np.testing.assert_allclose(found, np.float32(wanted), rtol=2e-6)
    spoiled = np.concatenate([x, [[1e30, 0, 0]]])
    found = kernels.scale_gamma(spoiled, weights=np.append(np.ones(len(x)), 0))
    np.testing.assert_allclose(found, np.float32(wanted), rtol=2e-6)
    middle = float(kernels.median_gamma(A)) / unit / unit
    np.testing.assert_allclose(kernels.median_gamma(x), np.float32(middle), rtol=1e-6)


@pytest.mark.parametrize("m", [6, 7])
def test_median_gamma(m):
    x = A[:m]
    i, j = np.triu_indices(m, 1)
    distances = np.linalg.norm(x[i] - x[j], axis=1)
    wanted = 1 / (2 * np.median(distances) ** 2)
    np.testing.assert_allclose(kernels.median_gamma(x), wanted, rtol=1e-5)
    counts = np.array([2, 0, 1, 1, 3, 0, 1])[:m]
    repeated = kernels.median_gamma(np.repeat(x, counts, axis=0) + np.float32(9))
    ours = kernels.median_gamma(x, weights=counts)
    np.testing.assert_allclose(ours, repeated, rtol=1e-5)
    assert np.isnan(kernels.median_gamma(np.ones((4, 2))))


def test_traced_faults_are_nan():
    bad = jnp.ones(7).at[2].set(-1.0)
    for gamma in (kernels.scale_gamma, kernels.median_gamma):
        assert np.isnan(jax.jit(lambda w, f=gamma: f(A, weights=w))(bad))
    spoiled = jnp.asarray(A).at[1, 1].set(jnp.nan)
    for name in kernels.KERNELS:
        assert np.isnan(
            jax.jit(kernels.KERNELS[name].__wrapped__)(
                spoiled, B, **({} if name == "linear" else {"gamma": 0.5})
            )
        ).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.rbf(A, B[:, :2], gamma=1.0), r"^b has shape \(5, 2\), not"),
        (lambda: kernels.rbf(A[0], B, gamma=1.0), r"^a has shape \(3,\), not \(p, n\)"),
        (lambda: kernels.rbf(A, B * np.nan, gamma=1.0), r"^b holds 15 non-finite"),
        (lambda: kernels.rbf(A, B, gamma=-1.0), r"^gamma must lie in \[0, inf\)"),
        (lambda: kernels.linear(A, B[:0]), r"^b is empty"),
        (lambda: kernels.matrix(A, B, kernel="cubic"), r"^kernel must be one of"),
        (lambda: kernels.matrix(A, B, kernel=3), r"^kernel must be a name or"),
        (lambda: kernels.polynomial(A, B, degree=1.5), r"^degree must be a Python int"),
        (
            lambda: kernels.matern(A, B, gamma=1.0, smoothness=0.5),
            r"^smoothness must be one of 1.5, 2.5",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
