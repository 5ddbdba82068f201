"""Bases against scikit-learn and SciPy; features against the kernels they stand for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline
from sklearn import preprocessing
from sklearn.kernel_approximation import Nystroem

from jaxml.regression import basis, kernels
from tests.common.samples import Made
from tests.depth import cases

N, K = 3, 4
LANDMARKS = np.random.default_rng(8).normal(size=(K, N))
SAMPLES = {
    "degree": 3,
    "order": 2,
    "width": 1.5,
    "gamma": 0.5,
    "n": N,
    "k": K,
    "init_nystroem.k": 12,  # all rows, so that each is seen
    "centres": LANDMARKS,
    "b_spline.knots": np.linspace(-5.0, 5.0, 11),
    "landmarks": LANDMARKS,
    "random_fourier.params": Made(
        lambda seed: basis.init_random_fourier(
            jax.random.key(seed), n=N, k=K, gamma=0.5
        )
    ),
    "nystroem.params": Made(
        lambda seed: basis.whitened(LANDMARKS + 0.1 * seed, gamma=0.5)
    ),
}
ROUGH = {"init_nystroem": "which rows are drawn depends on the weights"}
X = np.random.default_rng(0).normal(size=(20, N)).astype(np.float32)
COUNTS = np.random.default_rng(1).integers(0, 4, 20)


# --- polynomials --------------------------------------------------------------------


@pytest.mark.parametrize("interactions", [False, True])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("n", "degree"), [(1, 4), (2, 6), (3, 3), (3, 5)])
def test_polynomial_agrees_with_sklearn(n, degree, constant, interactions):
    options = {"interactions": interactions, "constant": constant}
    ours = basis.polynomial(X[:, :n], degree=degree, **options)
    peer = preprocessing.PolynomialFeatures(
        degree, include_bias=constant, interaction_only=interactions
    )
    wanted = peer.fit_transform(X[:, :n].astype(float))
    np.testing.assert_allclose(ours, wanted, rtol=2e-6)
    powers = basis.exponents(n, degree=degree, **options)
    np.testing.assert_array_equal(powers, peer.powers_)


def test_the_map_of_the_course():
    one, two = X[:, 0], X[:, 1]
    terms = [one ** (i - j) * two**j for i in range(7) for j in range(i + 1)]
    ours = basis.polynomial(X[:, :2], degree=6, constant=True)
    assert ours.shape == (20, 28)
    np.testing.assert_allclose(ours, np.stack(terms, axis=1), rtol=3e-6)


def test_polynomial_of_degree_none():
    ones = basis.polynomial(X, degree=0, constant=True)
    np.testing.assert_array_equal(ones, np.ones((20, 1)))
    with pytest.raises(ValueError, match=r"^degree must be at least 1"):
        basis.polynomial(X, degree=0)
    assert basis.exponents(2, degree=0).shape == (0, 2)


# --- waves and bumps ----------------------------------------------------------------


def test_fourier():
    ours = basis.fourier(X, order=3, period=2.5).reshape(20, N, 2, 3)
    angle = 2 * np.pi * X[:, :, None] * np.arange(1, 4) / 2.5
    np.testing.assert_allclose(ours[:, :, 0], np.cos(angle), atol=3e-6)
    np.testing.assert_allclose(ours[:, :, 1], np.sin(angle), atol=3e-6)


def test_fourier_far_away():
    x = np.arange(4096, 4104, dtype=np.float32)[:, None] + np.float32(0.25)
    ours = basis.fourier(x, order=50, period=1.0)
    np.testing.assert_allclose(ours, np.broadcast_to(ours[:1], ours.shape), atol=1e-7)
    quarter = np.exp(0.5j * np.pi * np.arange(1, 51))
    np.testing.assert_allclose(ours[0, :50], quarter.real, atol=2e-5)


def test_fourier_fits_a_square_wave(x64):
    x = (np.arange(1000)[:, None] + 0.5) / 1000
    design = basis.fourier(x, order=9)
    coefficients = np.linalg.lstsq(design, np.sign(0.5 - x[:, 0]), rcond=None)[0]
    np.testing.assert_allclose(coefficients[:9], 0, atol=1e-12)
    wanted = [4 / (np.pi * k) if k % 2 else 0 for k in range(1, 10)]
    np.testing.assert_allclose(coefficients[9:], wanted, atol=1e-4)


def test_radial():
    squares = np.sum((X[:, None] - LANDMARKS[None]) ** 2, axis=2)
    ours = basis.radial(X, LANDMARKS.astype(np.float32), width=0.8)
    np.testing.assert_allclose(ours, np.exp(-squares / (2 * 0.64)), rtol=1e-5)


# --- splines ------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 5])
def test_b_spline_agrees_with_scipy(degree, x64):
    rng = np.random.default_rng(2)
    inner = np.sort(rng.uniform(-1, 1, 5))
    knots = np.concatenate([[-2] * (degree + 1), inner, [2] * (degree + 1)])
    x = np.concatenate([[-2.0, 2.0], inner, rng.uniform(-2, 2, 30)])
    wanted = BSpline.design_matrix(x, knots, degree).toarray()
    ours = basis.b_spline(x[:, None], knots, degree=degree)
    np.testing.assert_allclose(ours, wanted, atol=1e-13)
    beyond = np.array([-3.0, 2.5])
    coefficients = rng.normal(size=len(knots) - degree - 1)
    ours = basis.b_spline(beyond[:, None], knots, degree=degree, outside="continue")
    wanted = BSpline(knots, coefficients, degree)(beyond)
    np.testing.assert_allclose(ours @ coefficients, wanted, rtol=1e-11)


@pytest.mark.parametrize("outside", ["linear", "constant", "continue"])
@pytest.mark.parametrize("spacing", ["uniform", "quantile"])
@pytest.mark.parametrize("degree", [1, 3])
def test_b_spline_agrees_with_sklearn(degree, spacing, outside, x64):
    x = np.concatenate([X, 3 * X]).astype(float)
    knots = basis.knots(X.astype(float), k=5, degree=degree, spacing=spacing)
    ours = basis.b_spline(x, knots, degree=degree, outside=outside)
    for j, functions in enumerate(np.split(ours, N, axis=1)):
        # One by one: with degree 1 it extends only the first of several columns right.
        peer = preprocessing.SplineTransformer(
            n_knots=5, degree=degree, knots=spacing, extrapolation=outside
        ).fit(X[:, [j]].astype(float))
        wanted = peer.transform(x[:, [j]])
        np.testing.assert_allclose(functions, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("outside", ["linear", "constant", "continue"])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_b_spline_is_a_partition_of_unity(degree, outside):
    knots = basis.knots(X, k=6, degree=degree)
    x = np.concatenate([X, 2 * X])
    ours = basis.b_spline(x, knots, degree=degree, outside=outside)
    sums = ours.reshape(40, N, -1).sum(axis=2)
    np.testing.assert_allclose(sums, 1, atol=1e-3 if outside == "continue" else 2e-6)
    assert ((ours[:20] != 0).reshape(20, N, -1).sum(axis=2) <= degree + 1).all()


@pytest.mark.parametrize("outside", ["linear", "continue"])
def test_splines_of_columns_with_many_equal_entries(outside):
    """Half the rows at the maximum or minimum, or all: the functions sum to 1 yet."""
    x = np.array(X)
    x[:10, 0], x[10:, 1], x[:, 2] = x[:, 0].max() + 1, x[:, 1].min() - 1, 7.25
    knots = basis.knots(x, k=6, spacing="quantile")
    x = np.concatenate([x, x + np.array([0, 0, 0.5])])
    ours = basis.b_spline(x, knots, outside=outside).reshape(40, N, -1)
    np.testing.assert_allclose(ours.sum(axis=2), 1, atol=1e-5)
    assert (ours >= -1e-6).all()
    inner, low, high = knots[:, 0], knots[3, 0], knots[-4, 0]
    # SciPy's sum to 0 at the end, where it takes a piece without width.
    inside = ((x[:, 0] >= low) & (x[:, 0] < high)).nonzero()[0]
    wanted = BSpline.design_matrix(
        np.asarray(x[inside, 0], float), np.asarray(inner, float), 3
    ).toarray()
    np.testing.assert_allclose(ours[inside, 0], wanted, atol=1e-5)
    meet = basis.b_spline(x, np.full(12, 7.25))
    assert np.isnan(meet).all()


def test_b_spline_continues_as_a_line(x64):
    knots = jnp.linspace(0, 1, 12)
    functions = jax.vmap(lambda x: basis.b_spline(x[None, None], knots)[0])
    slope = jax.vmap(jax.jacfwd(lambda x: basis.b_spline(x[None, None], knots)[0]))
    low, high = knots[3], knots[-4]
    ends = jnp.array([low - 0.2, low, high, high + 0.2])
    d = slope(ends)
    np.testing.assert_allclose(d[0], d[1], atol=1e-12)
    np.testing.assert_allclose(d[3], d[2], atol=1e-12)
    values = functions(ends)
    np.testing.assert_allclose(values[0], values[1] - 0.2 * d[1], atol=1e-12)


@pytest.mark.long
def test_b_spline_with_knots_that_meet(x64):
    knots = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2.0])
    x = np.linspace(0, 2, 41)
    wanted = BSpline.design_matrix(x, knots, 3).toarray()
    np.testing.assert_allclose(basis.b_spline(x[:, None], knots), wanted, atol=1e-13)
    slope = jax.grad(lambda t: jnp.sum(basis.b_spline(x[:, None], t)[:, 2]))(knots)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("spacing", ["uniform", "quantile"])
def test_knots_of_counts_are_those_of_repeated_rows(spacing):
    repeated = basis.knots(np.repeat(X, COUNTS, axis=0), k=5, spacing=spacing)
    ours = basis.knots(X, k=5, spacing=spacing, weights=COUNTS)
    np.testing.assert_allclose(ours, repeated, atol=1e-6)


# --- features of kernels ------------------------------------------------------------


@pytest.mark.parametrize("kernel", cases(["rbf", "laplacian"], quick=["laplacian"]))
def test_random_fourier_approaches_the_kernel(kernel):
    x = X[:6]
    exact = kernels.matrix(x, x, kernel=kernel, gamma=0.3)

    def error(key, k):
        params = basis.init_random_fourier(key, n=N, k=k, gamma=0.3, kernel=kernel)
        z = basis.random_fourier(params, x)
        return jnp.mean((z @ z.T - exact) ** 2), z @ z.T - exact

    keys = jax.random.split(jax.random.key(0), 400)
    few, _ = jax.vmap(lambda key: error(key, 100))(keys)
    many, difference = jax.vmap(lambda key: error(key, 3200))(keys)
    # 32 times the waves: 1/32 of the square.
    np.testing.assert_allclose(few.mean() / many.mean(), 32, rtol=0.1)
    # Without bias: the mean over the keys has a 400th of the square.
    assert jnp.mean(difference.mean(axis=0) ** 2) < 2 * many.mean() / 400


def test_random_fourier_is_differentiable_in_gamma(x64):
    def similarity(gamma):
        params = basis.init_random_fourier(jax.random.key(1), n=N, k=K, gamma=gamma)
        return jnp.sum(basis.random_fourier(params, X) ** 3)

    numeric = (similarity(0.3 + 1e-6) - similarity(0.3 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(similarity)(0.3), numeric, rtol=1e-7)


OPTIONS = {
    "rbf": {"gamma": 0.4},
    "polynomial": {"gamma": 0.4, "offset": 0.7, "degree": 2},
    "laplacian": {"gamma": 0.4},
}
NAMES = {"offset": "coef0"}


@pytest.mark.parametrize("name", OPTIONS)
def test_nystroem_agrees_with_sklearn(name, x64):
    x, options = X.astype(float), dict(OPTIONS[name])
    theirs = {NAMES.get(option, option): value for option, value in options.items()}
    peer = Nystroem(name, n_components=6, random_state=0, **theirs).fit(x)
    kernel = name
    if "degree" in options:
        kernel = partial(kernels.polynomial, degree=options.pop("degree"))
    params = basis.whitened(peer.components_, kernel=kernel, **options)
    ours = basis.nystroem(params, x)
    np.testing.assert_allclose(ours, peer.transform(x), rtol=1e-8, atol=1e-9)


@pytest.mark.long
def test_nystroem_is_exact_between_landmarks():
    params = basis.init_nystroem(jax.random.key(0), X, k=8, gamma=0.4)
    rows = {tuple(row) for row in X.tolist()}
    assert len({tuple(row) for row in params.landmarks.tolist()} & rows) == 8
    z = basis.nystroem(params, params.landmarks)
    exact = kernels.rbf(params.landmarks, params.landmarks, gamma=0.4)
    np.testing.assert_allclose(z @ z.T, exact, atol=2e-5)
    all_rows = basis.whitened(X, gamma=0.4)
    z = basis.nystroem(all_rows, X)
    np.testing.assert_allclose(z @ z.T, kernels.rbf(X, X, gamma=0.4), atol=1e-4)


@pytest.mark.long
def test_nystroem_with_equal_landmarks():
    params = basis.whitened(np.concatenate([X[:5], X[:5]]), gamma=0.4)
    alone = basis.whitened(X[:5], gamma=0.4)
    z, wanted = basis.nystroem(params, X), basis.nystroem(alone, X)
    np.testing.assert_allclose(z @ z.T, wanted @ wanted.T, atol=2e-5)


def test_landmarks_are_drawn_by_weight():
    weights = np.zeros(20)
    weights[[3, 5, 8, 13]] = 1
    params = basis.init_nystroem(jax.random.key(2), X, k=4, weights=weights)
    wanted = {tuple(row) for row in X[[3, 5, 8, 13]].tolist()}
    assert {tuple(row) for row in params.landmarks.tolist()} == wanted
    draw = jax.jit(lambda w: basis.init_nystroem(jax.random.key(2), X, k=5, weights=w))
    assert np.isnan(draw(weights).whitening).all()
    with pytest.raises(ValueError, match=r"^weights must be positive for k = 5 rows"):
        basis.init_nystroem(jax.random.key(2), X, k=5, weights=weights)


@pytest.mark.parametrize("spread", cases([1.0, 0.0], quick=[0.0]))
def test_nystroem_is_differentiable(spread, x64):
    """Also where all eigenvalues coincide but one: landmarks on a simplex."""
    rng = np.random.default_rng(4)
    landmarks = np.eye(N) + spread * rng.normal(size=(N, N))
    x, weight = X.astype(float), rng.normal(size=(20, N))

    def total(landmarks, gamma):
        params = basis.whitened(landmarks, gamma=gamma)
        return jnp.sum(weight * basis.nystroem(params, x))

    slope, in_gamma = jax.jit(jax.grad(total, (0, 1)))(landmarks, 0.4)
    step = 1e-5 * rng.normal(size=(N, N))
    numeric = (total(landmarks + step, 0.4) - total(landmarks - step, 0.4)) / 2
    np.testing.assert_allclose(np.vdot(slope, step), numeric, rtol=1e-6)
    numeric = (total(landmarks, 0.4 + 1e-6) - total(landmarks, 0.4 - 1e-6)) / 2e-6
    np.testing.assert_allclose(in_gamma, numeric, rtol=1e-6)


# --- faults -------------------------------------------------------------------------


def test_traced_faults_are_nan():
    spline = jax.jit(basis.b_spline)
    knots = jnp.arange(10.0)
    assert not np.isnan(spline(X, knots)).any()
    assert np.isnan(spline(X, knots[::-1])).all()
    assert np.isnan(spline(X, knots.at[3].set(jnp.nan))).all()
    steps = jax.jit(lambda x: basis.b_spline(x, knots, degree=0))
    assert np.isnan(steps(jnp.full((2, 1), jnp.nan))).all()
    bad = jnp.ones(20).at[2].set(-1.0)
    assert np.isnan(jax.jit(lambda w: basis.knots(X, k=4, weights=w))(bad)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: basis.polynomial(X, degree=-1), r"^degree must be at least 0"),
        (lambda: basis.exponents(0, degree=2), r"^n must be at least 1"),
        (lambda: basis.fourier(X, order=0), r"^order must be at least 1"),
        (lambda: basis.fourier(X, order=1, period=0.0), r"^period must lie in"),
        (lambda: basis.radial(X, X[:, :2], width=1.0), r"^centres has shape"),
        (lambda: basis.radial(X, X * np.nan, width=1.0), r"^centres holds 60 non-"),
        (lambda: basis.radial(X, X, width=0.0), r"^width must lie in \(0, inf\)"),
        (lambda: basis.b_spline(X, np.arange(7.0)), r"^knots must be at least 2·d"),
        (lambda: basis.b_spline(X, np.ones((9, 2))), r"^knots has shape \(9, 2\)"),
        (
            lambda: basis.b_spline(X, np.arange(9.0), outside="zero"),
            r"^outside must be one of 'linear', 'constant', 'continue'",
        ),
        (lambda: basis.knots(X, k=1), r"^k must be at least 2"),
        (
            lambda: basis.init_random_fourier(
                jax.random.key(0), n=2, k=3, gamma=1.0, kernel="matern"
            ),
            r"^kernel must be one of 'rbf', 'laplacian'",
        ),
        (
            lambda: basis.init_nystroem(jax.random.key(0), X, k=21),
            r"^k must be at most m = 20, not 21",
        ),
        (
            lambda: basis.nystroem(basis.whitened(X), X[:, :2]),
            r"^params.landmarks has shape .20, 3., not .k, n. where m = 20, n = 2",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
