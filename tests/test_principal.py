"""Principal components against scikit-learn, closed forms and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from jaxml import Status, check
from jaxml.reduction import pca

RNG = np.random.default_rng(0)
PARAMS = pca.Params(
    np.array([0.1, -0.2, 0.3]),
    np.linalg.qr(RNG.normal(size=(3, 2)))[0],
    np.array([2.0, 0.8]),
    np.array(3.2),
    np.array(0.4),
)
SAMPLES = {"params": PARAMS, "k": 2, "z": RNG.normal(size=(12, 2))}

SOLVERS = ["eigen", "gram", "svd"]
SHAPES = {"tall": (40, 7), "wide": (7, 40)}
K = 4


def data(shape, dtype=float):
    m, n = SHAPES[shape]
    rng = np.random.default_rng(1)
    return (rng.normal(size=(m, n)) * np.geomspace(3, 0.5, n) + 2).astype(dtype)


def aligned(u, v):
    """The moduli of the cosines between columns."""
    return np.abs(np.sum(np.asarray(u) * np.asarray(v), axis=0))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_scikit_learn(shape, solver, x64):
    """Whose variances are m/(m - 1) times ours."""
    x = data(shape)
    m, n = x.shape
    fit = check(pca.fit(x, k=K, solver=solver))
    peer = PCA(K, svd_solver="full").fit(x)
    mu, u, variances, total, noise = map(np.asarray, fit.params)
    np.testing.assert_allclose(variances * m / (m - 1), peer.explained_variance_)
    np.testing.assert_allclose(aligned(u, peer.components_.T), 1)
    np.testing.assert_allclose(u.T @ u, np.eye(K), atol=1e-13)
    np.testing.assert_allclose(mu, peer.mean_)
    ratio = pca.explained_variance_ratio(fit.params)
    np.testing.assert_allclose(ratio, peer.explained_variance_ratio_)
    np.testing.assert_allclose(
        pca.cumulative_explained_variance(fit.params), np.cumsum(ratio)
    )
    np.testing.assert_allclose(total, x.var(axis=0).sum())
    np.testing.assert_allclose(noise * (n - K), total - variances.sum())
    assert fit.residual < 1e-14
    assert fit.steps == 0
    sign = np.sign(np.sum(u * peer.components_.T, axis=0))
    z = np.asarray(pca.transform(fit.params, x)) * sign
    np.testing.assert_allclose(z, peer.transform(x))
    again = np.asarray(pca.reconstruct(fit.params, x))
    np.testing.assert_allclose(again, peer.inverse_transform(peer.transform(x)))
    np.testing.assert_allclose(fit.cost, np.mean(np.sum((x - again) ** 2, axis=1)))
    np.testing.assert_allclose(fit.cost, pca.cost(fit.params, x))


def test_auto_takes_what_fits():
    """Small data are decomposed themselves; the answer is the same in any case."""
    rng = np.random.default_rng(2)
    for m, n, solver in ((40, 7, "svd"), (3000, 80, "eigen"), (80, 3000, "gram")):
        x = rng.normal(size=(m, n)).astype("f")
        auto, told = (pca.fit(x, k=2, solver=s).params.u for s in ("auto", solver))
        np.testing.assert_array_equal(auto, told)


def test_courses_formulas(x64):
    """[U, S, V] = svd(Σ), z = U_kᵀ x, x_rec = U_k z: slides 2.1, for centred data."""
    x = data("tall")
    x -= x.mean(axis=0)
    u, s, _ = np.linalg.svd(x.T @ x / len(x))
    fit = check(pca.fit(x, k=K))
    np.testing.assert_allclose(fit.params.variances, s[:K])
    np.testing.assert_allclose(aligned(fit.params.u, u[:, :K]), 1)
    np.testing.assert_allclose(
        pca.cumulative_explained_variance(fit.params)[-1], s[:K].sum() / s.sum()
    )
    again = x @ u[:, :K] @ u[:, :K].T
    np.testing.assert_allclose(pca.reconstruct(fit.params, x), again, atol=1e-12)


def test_nothing_reconstructs_better(x64):
    """J is least at the answer: other planes of as many dimensions are worse."""
    x = data("tall")
    fit = check(pca.fit(x, k=K))
    rng = np.random.default_rng(3)
    for size in (1e-3, 1e-1, 10):
        near = fit.params.u + size * rng.normal(size=fit.params.u.shape)
        other = fit.params._replace(u=np.linalg.qr(near)[0])
        assert pca.cost(other, x) > fit.cost


@pytest.mark.parametrize("solver", SOLVERS)
def test_signs(solver, x64):
    """The largest entry of each direction is positive; of equals, the first."""
    for shape in SHAPES:
        u = np.asarray(pca.fit(data(shape), k=K, solver=solver).params.u)
        assert (u[np.abs(u).argmax(axis=0), np.arange(K)] > 0).all()
        turned = pca.fit(-data(shape), k=K, solver=solver).params.u
        np.testing.assert_allclose(turned, u, atol=1e-12)
    staggered = np.outer([1, -1, 2, -2.0], [-1, 1, -1, 1])
    u = pca.fit(staggered, k=1, solver=solver).params.u[:, 0]
    np.testing.assert_allclose(u, [0.5, -0.5, 0.5, -0.5])


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_are_repeated_rows(solver, x64):
    x = data("tall")
    counts = np.random.default_rng(4).integers(0, 4, len(x))
    one = check(pca.fit(x, k=K, weights=counts, solver=solver))
    two = check(pca.fit(np.repeat(x, counts, axis=0), k=K, solver=solver))
    for a, b in zip(one.params, two.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(one.cost, pca.cost(one.params, x, weights=counts))


def test_whiten(x64):
    x = data("tall")
    params = check(pca.fit(x, k=K)).params
    z = np.asarray(pca.whiten(params, x))
    np.testing.assert_allclose(z.T @ z / len(x), np.eye(K), atol=1e-12)
    back = pca.inverse(params, jnp.sqrt(params.variances)[None] * z)
    np.testing.assert_allclose(back, pca.reconstruct(params, x), atol=1e-12)


# --- what is hard ---------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_far_from_the_origin(solver):
    """A mean of 1e4 in float32; the truth from float64."""
    for shape in SHAPES:
        x = data(shape, np.float32) + np.float32(1e4)
        fit = check(pca.fit(x, k=K, solver=solver))
        exact = x.astype(float) - x.astype(float).mean(axis=0)
        _, s, ut = np.linalg.svd(exact, full_matrices=False)
        np.testing.assert_allclose(fit.params.variances, s[:K] ** 2 / len(x), rtol=3e-5)
        assert aligned(fit.params.u, ut[:K].T).min() > 1 - 1e-5
        np.testing.assert_allclose(
            fit.params.mean, x.astype(float).mean(axis=0), rtol=1e-7
        )


def test_padding_far_away():
    """Rows of weight 0 at the origin do not spoil data at 1e4."""
    x = data("tall", np.float32) + np.float32(1e4)
    padded = np.concatenate([x, np.zeros_like(x)])
    weights = np.repeat([1.0, 0.0], len(x))
    for solver in SOLVERS:
        one = pca.fit(padded, k=K, weights=weights, solver=solver).params
        np.testing.assert_allclose(
            one.variances, pca.fit(x, k=K).params.variances, rtol=3e-5
        )


@pytest.mark.parametrize("solver", ["eigen", "power"])
def test_periodic_rows(solver):
    """Every 100th row far away: a sample of the rows would be of those alone."""
    x = np.random.default_rng(12).normal(size=(25_600, 3)).astype("f")
    x[::100] -= 1000
    exact = np.linalg.eigvalsh(np.cov(x.T.astype(float), ddof=0))[::-1]
    if solver == "eigen":
        fit = pca.fit(x, k=3, solver=solver)
    else:
        fit = pca.power(pca.init(jax.random.key(0), n=3, k=3), x, max_iter=50)
    np.testing.assert_allclose(check(fit).params.variances, exact, rtol=1e-2)


@pytest.mark.parametrize("solver", SOLVERS)
def test_units(solver):
    """Powers of two change nothing; what float32 has no squares of is told."""
    x = data("tall", np.float32)
    one = check(pca.fit(x, k=K, solver=solver)).params
    for exponent in (-20, 20):
        two = check(pca.fit(x * np.float32(2.0**exponent), k=K, solver=solver)).params
        np.testing.assert_allclose(two.u, one.u, atol=1e-5)
        np.testing.assert_allclose(
            pca.explained_variance_ratio(two), pca.explained_variance_ratio(one), 1e-5
        )
    for exponent, status in ((-66, Status.SINGULAR), (66, Status.NONFINITE)):
        fit = pca.fit(x * np.float32(2.0**exponent), k=K, solver=solver)
        assert fit.status == status
    weights = np.r_[np.ones(len(x)), 0]
    far = np.concatenate([x, np.full((1, 7), 1e30, "f")])
    cost = pca.cost(one, far, weights=weights)
    np.testing.assert_allclose(cost, pca.cost(one, x), rtol=1e-5)
    two = check(pca.fit(far, k=K, solver=solver, weights=weights)).params
    np.testing.assert_allclose(two.variances, one.variances, rtol=1e-5)


def test_svd_sees_smaller_variances():
    """In float32: 1e-10 of the first, where squares have lost it."""
    scales = np.array([1, 1e-2, 1e-5])
    x = (np.linalg.qr(RNG.normal(size=(50, 3)))[0] * scales).astype("f")
    exact = np.linalg.svd(x - x.mean(axis=0, dtype=float), compute_uv=False)
    found = pca.fit(x, k=3, solver="svd").params.variances
    np.testing.assert_allclose(found, exact**2 / 50, rtol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_constant_and_duplicate_columns(solver):
    """Directions of variance 0 are orthonormal as well, and not in the way."""
    x = data("tall", np.float32)
    x = np.c_[x[:, :2], x[:, :2], np.full((len(x), 2), 7)]
    fit = check(pca.fit(x, k=5, solver=solver))
    np.testing.assert_allclose(fit.params.u.T @ fit.params.u, np.eye(5), atol=1e-5)
    assert (np.asarray(fit.params.variances) >= 0).all()
    np.testing.assert_allclose(fit.params.variances[2:], 0, atol=1e-5)
    np.testing.assert_allclose(pca.reconstruct(fit.params, x), x, atol=1e-4)
    assert fit.params.noise >= 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_constant_data(solver):
    """Variances are 0, directions are orthonormal, and nothing is NaN."""
    for shape in SHAPES.values():
        fit = check(pca.fit(np.full(shape, 3.0), k=2, solver=solver))
        np.testing.assert_allclose(fit.params.variances, 0, atol=1e-12)
        assert 0 <= fit.cost <= 1e-12
        np.testing.assert_allclose(fit.params.mean, 3)
        np.testing.assert_allclose(fit.params.u.T @ fit.params.u, np.eye(2), atol=1e-5)


def test_refused():
    x = data("tall")
    for k in (8, 41):
        with pytest.raises(ValueError, match=r"^k must be at most min\(m, n\) = 7"):
            pca.fit(x, k=k)
    with pytest.raises(ValueError, match="^k must be at least 1"):
        pca.fit(x, k=0)
    with pytest.raises(ValueError, match="^solver must be one of"):
        pca.fit(x, k=2, solver="arpack")
    params = pca.fit(x, k=2).params
    for function in (pca.transform, pca.whiten, pca.log_likelihood, pca.posterior):
        with pytest.raises(ValueError, match=r"params\.\w+ has shape \(7,"):
            function(params, x[:, :6])
    with pytest.raises(ValueError, match="params.u has shape"):
        pca.inverse(params, x)
    assert jax.jit(lambda x: pca.fit(x, k=2))(x * np.nan).status == Status.NONFINITE


# --- derivatives ----------------------------------------------------------------------


def repeated():
    """Rows whose covariance has the eigenvalues 4, 4, 4, 1, 1, ½, exactly repeated."""
    rng = np.random.default_rng(5)
    q = np.linalg.qr(rng.normal(size=(12, 7)) - 0.0)[0]
    q = np.linalg.qr(np.c_[np.ones(12), q[:, :6]])[0][:, 1:]  # columns of mean 0
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    return q * np.sqrt(12 * np.array([4, 4, 4, 1, 1, 0.5])) @ axes.T


def compared(function, x, direction):
    """Forward and reverse derivatives, and central differences, along a direction."""
    forward = jax.jvp(function, (x,), (direction,))[1]
    reverse = jnp.vdot(jax.grad(function)(x), direction)
    h = 1e-5
    ends = [function(x + sign * h * direction) for sign in (1, -1)]
    return forward, reverse, (ends[0] - ends[1]) / (2 * h)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("k", [3, 5])
def test_derivatives_where_variances_coincide(solver, k, x64):
    """Of a function of the projector, through rows fitted to and new ones."""
    x, direction = repeated(), np.random.default_rng(6).normal(size=(12, 6))
    new = np.random.default_rng(7).normal(size=(4, 6))
    target = np.random.default_rng(8).normal(size=(4, 6))

    @jax.jit
    def function(x):
        params = pca.fit(x, k=k, solver=solver).params
        z = pca.transform(params, new)
        distances = jnp.sum((z[:, None] - z[None]) ** 2, axis=2)
        error = pca.reconstruct(params, new) - target
        return jnp.sum(error**2) + jnp.sum(jnp.sin(distances)) + params.noise

    forward, reverse, numeric = compared(function, x, direction)
    assert abs(numeric) > 0.1
    np.testing.assert_allclose(forward, numeric, rtol=1e-7)
    np.testing.assert_allclose(reverse, numeric, rtol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_derivative_across_the_cut(solver, x64):
    """S₂ = S₃ and S₄ = S₅: of 2 or 4 directions the projector has no derivative."""
    x, direction = repeated(), np.random.default_rng(6).normal(size=(12, 6))
    for k, right in ((2, False), (3, True), (4, False)):

        @jax.jit
        def of(x, k=k):
            return pca.fit(x, k=k, solver=solver).params

        change, back = jax.jit(
            lambda x, d, of=of: (
                jax.jvp(of, (x,), (d,))[1],
                jax.grad(lambda x: jnp.sum(jnp.sin(of(x).u)))(x),
            )
        )(x, direction)
        assert np.isfinite(back).all() == right
        # Of the directions that coincide with one left out, and of no other.
        coincide = np.array([[True] * 4, [False] * 3 + [True]][k == 4])[:k]
        wanted = np.ones(k, bool) if right else ~coincide
        np.testing.assert_array_equal(np.isfinite(change.variances), wanted)
        np.testing.assert_array_equal(np.isfinite(change.u).all(axis=0), wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_solvers_share_their_derivatives(shape, x64):
    """Of each entry of u, variances and cost; in rows and weights."""
    x = data(shape)
    weights = RNG.uniform(0.5, 2, len(x))
    along = np.random.default_rng(9).normal(size=x.shape), RNG.normal(size=len(x))
    mixed = np.random.default_rng(10).normal(size=(x.shape[1], K))

    def of(x, weights, solver):
        fit = pca.fit(x, k=K, weights=weights, solver=solver)
        values = fit.params.variances @ jnp.arange(1.0, 5) + jnp.sin(fit.cost)
        return values + jnp.sum(fit.params.u * mixed) + fit.params.noise

    h = 1e-5
    for solver in SOLVERS:
        run = jax.jit(lambda x, w, solver=solver: of(x, w, solver))
        slope = jax.jvp(run, (x, weights), along)[1]
        ends = [run(x + s * h * along[0], weights + s * h * along[1]) for s in (1, -1)]
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * h), rtol=1e-7)


def test_one_compilation_for_any_weights():
    x = data("tall", np.float32)
    before = pca.fit.traces
    masks = np.random.default_rng(11).integers(0, 2, (5, len(x))) + 0.5
    for w in masks:
        pca.fit(x, k=3, weights=w)
    assert pca.fit.traces == before + 1
    folds = jax.vmap(lambda w: pca.fit(x, k=3, weights=w).params.variances)(masks)
    alone = pca.fit(x, k=3, weights=masks[-1]).params.variances
    np.testing.assert_allclose(folds[-1], alone, rtol=1e-5)
