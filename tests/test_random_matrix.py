"""Random matrices: published numbers, integrals, inverses, simulations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from jaxml.physics import random_matrix as rmt

RNG = np.random.default_rng(0)
SAMPLES = {
    "gamma": 0.5,
    "variance": 1.3,
    "p": np.linspace(0.05, 0.9, 6),
    "x": RNG.normal(size=(12, 3)),
    "density.x": np.linspace(0.3, 3.6, 7),
    "cumulative.x": np.linspace(0.3, 3.6, 7),
    "spike": np.array([1.2, 2.0, 5.0]),
    "eigenvalue": np.array([4.0, 5.0, 9.0]),
    "strength": np.array([0.5, 1.5, 3.0]),
    "y": np.array([1.0, 2.1, 3.0]),
    "shrink.sigma": 0.4,
    "significant_components.variance": 0.5,
    "rows": 20,
    "columns": 6,
}
band = jax.jit(
    lambda x, p, gamma, variance: (
        rmt.density(x, gamma=gamma, variance=variance),
        rmt.cumulative(x, gamma=gamma, variance=variance),
        rmt.quantile(p, gamma=gamma, variance=variance),
    )
)
GAMMAS = [1e-3, 0.0624, 0.0626, 0.5, 0.999, 1.5, 30.0]


def close(result, wanted, digits):
    np.testing.assert_allclose(result, wanted, rtol=0, atol=0.6 * 10.0**-digits)


# --- the band -------------------------------------------------------------------------


def test_numbers(x64):
    """γ = ½ and 1, ℓ = 3 and 4; the threshold of square matrices."""
    close(jnp.stack(rmt.edges(gamma=0.5)), [0.08578644, 2.91421356], 8)
    assert rmt.bbp_eigenvalue(3.0, gamma=0.5) == 3.75
    close(rmt.bbp_overlap(3.0, gamma=0.5), 0.7, 15)
    close(rmt.bbp_eigenvalue(4.0, gamma=1.0), 16 / 3, 14)
    close(rmt.bbp_overlap(4.0, gamma=1.0), 2 / 3, 15)
    close(rmt.bbp_eigenvalue(1.5, gamma=0.5), 2.91421356, 8)
    assert rmt.bbp_overlap(1.5, gamma=0.5) == 0
    near = 1.70710678  # 1 + √½, to 8 digits
    assert (
        rmt.bbp_overlap(near, gamma=0.5) == 0 < rmt.bbp_overlap(near + 1e-8, gamma=0.5)
    )
    close(rmt.hard_threshold(gamma=1.0), 2.3094010768, 10)
    # With σ unknown: 2.858 medians of square matrices (Gavish and Donoho 2014).
    ratio = rmt.hard_threshold(gamma=1.0) / jnp.sqrt(rmt.median(gamma=1.0))
    close(ratio, 2.858, 3)
    close(rmt.wigner_overlap(2.0), 0.75, 15)
    assert rmt.wigner_eigenvalue(2.0) == 2.5
    assert rmt.wigner_eigenvalue(0.5) == 2
    assert rmt.wigner_overlap(0.5) == 0


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_band_by_integration(gamma, x64):
    """Moments 1, σ², (1 + γ) σ⁴ of the density, and its integral, up to four points."""
    options = {"gamma": gamma, "variance": 1.7}
    low, high = map(float, rmt.edges(**options))
    t = np.linspace(0, np.pi, 100_001)
    x = low + (high - low) * np.sin(t / 2) ** 2
    rho, found, _ = map(np.asarray, band(x, np.zeros(6), gamma, 1.7))
    rho = rho * (high - low) * np.sin(t) / 2
    share = min(1, 1 / gamma)
    close(integrate.simpson(rho, x=t), share, 9)
    close(integrate.simpson(rho * x, x=t), 1.7, 9)
    np.testing.assert_allclose(
        integrate.simpson(rho * x**2, x=t), (1 + gamma) * 1.7**2, rtol=1e-9
    )
    running = integrate.cumulative_simpson(rho, x=t, initial=0) + 1 - share
    np.testing.assert_allclose(found, running, atol=1e-9)
    places = [500, 20_000, 60_000, 99_500]
    p = np.r_[found[places], 1 - 0.9999 * share, 1]
    found = np.asarray(band(x, p, gamma, 1.7)[2])
    np.testing.assert_allclose(found[:4], x[places], rtol=1e-8)
    assert low < found[4] < found[1]
    np.testing.assert_allclose(found[5], high)


def test_outside_the_band(x64):
    x = np.array([-1.0, 0.0, 0.02, 3.0, 9.0])
    np.testing.assert_array_equal(rmt.density(x, gamma=0.5), 0)
    np.testing.assert_array_equal(rmt.cumulative(x, gamma=0.5), [0, 0, 0, 1, 1])
    np.testing.assert_allclose(
        rmt.cumulative(np.array([-1, 0, 0.1, 30]), gamma=4.0), [0, 0.75, 0.75, 1]
    )
    p = np.array([-0.1, 0.0, 0.5, 0.74, 1.1])
    found = rmt.quantile(p, gamma=4.0)
    np.testing.assert_array_equal(found, [np.nan, 0, 0, 0, np.nan])


def test_density_is_the_slope_of_the_cumulative(x64):
    x = jnp.linspace(0.1, 5.0, 30)
    for gamma in (0.03, 0.5, 1.5):
        f = lambda x: rmt.cumulative(x, gamma=gamma, variance=1.7)  # noqa: B023
        slope = jax.vmap(jax.grad(f))(x)
        wanted = rmt.density(x, gamma=gamma, variance=1.7)
        np.testing.assert_allclose(slope, wanted, rtol=1e-9, atol=1e-12)


def test_derivatives_of_the_quantile(x64):
    """In p, γ and σ², by differences."""
    f = jax.jit(lambda p, g, v: rmt.quantile(p, gamma=g, variance=v))
    slope = jax.jit(jax.grad(f, (0, 1, 2)))
    for at in ((0.3, 0.5, 1.2), (0.5, 0.03, 1.2), (0.9, 1.5, 1.2)):
        slopes = slope(*at)
        for i in range(3):
            ends = [f(*np.array(at) + s * 1e-6 * np.eye(3)[i]) for s in (1, -1)]
            np.testing.assert_allclose(slopes[i], (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_single_precision(gamma):
    root = gamma**0.5
    x = np.linspace((1 - root) ** 2, (1 + root) ** 2, 9)[1:-1].astype("f")
    p = np.array([0.985, 0.99], "f")
    with jax.enable_x64(True):
        exact = band(x.astype(float), p.astype(float), gamma, 1.0)
    found = band(x, p, np.float32(gamma), np.float32(1))
    assert {a.dtype for a in found} == {np.dtype("f")}
    for a, b in zip(found, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-5, atol=2e-5)


# --- a spike --------------------------------------------------------------------------


def test_inverse(x64):
    ell = np.array([1.72, 2.0, 3, 10])
    value = rmt.bbp_eigenvalue(ell, gamma=0.5, variance=1.7)
    np.testing.assert_allclose(rmt.bbp_spike(value, gamma=0.5, variance=1.7), ell)
    assert np.isnan(rmt.bbp_spike(2.9, gamma=0.5))


@pytest.mark.parametrize("ell", [3.0, 1.5])
def test_bbp_by_simulation(ell, x64):
    """Eigenvalue and overlap of 6 draws, m = 1000, below and above the transition."""
    m, gamma = 1000, 0.5
    n, values, overlaps = int(m * gamma), [], []
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=(m, n))
        x[:, 0] *= np.sqrt(ell)
        value, vector = np.linalg.eigh(x.T @ x / m)
        values.append(value[-1])
        overlaps.append(vector[0, -1] ** 2)
    error = np.std(values) / 6**0.5 + 0.01
    assert abs(np.mean(values) - rmt.bbp_eigenvalue(ell, gamma=gamma)) < 3 * error
    error = np.std(overlaps) / 6**0.5 + 0.005
    assert abs(np.mean(overlaps) - rmt.bbp_overlap(ell, gamma=gamma)) < 3 * error


def test_wigner_and_rectangles_by_simulation(x64):
    """A spike in a symmetric matrix, and a matrix of rank one in a rectangular one."""
    rng, n = np.random.default_rng(1), 800
    g = rng.normal(size=(n, n))
    v = np.ones(n) / n**0.5
    value, vector = np.linalg.eigh((g + g.T) / (2 * n) ** 0.5 + 1.8 * np.outer(v, v))
    np.testing.assert_allclose(value[-1], rmt.wigner_eigenvalue(1.8), atol=0.06)
    np.testing.assert_allclose(
        abs(vector[:, -1] @ v), rmt.wigner_overlap(1.8) ** 0.5, atol=0.04
    )
    u, v = np.ones(800) / 800**0.5, np.ones(400) / 20
    for x in (1.5, 0.4):
        draws = [
            np.linalg.svd(
                rng.normal(size=(800, 400)) / 800**0.5 + x * np.outer(u, v),
                compute_uv=False,
            )[0]
            for _ in range(6)
        ]
        error = 3 * np.std(draws) / 6**0.5 + 0.02
        assert abs(np.mean(draws) - rmt.singular_value(x, gamma=0.5)) < error
    # The transition is where the formula and the edge meet.
    at = 0.5**0.25 * (1 + 1e-9)
    close(rmt.singular_value(at, gamma=0.5), 1 + 0.5**0.5, 9)


# --- shrinkage ------------------------------------------------------------------------


def test_shrinkage_undoes_the_noise(x64):
    """η(y(x)) = x times both cosines, the best a multiple of u vᵀ can do."""
    gamma, x = 0.5, np.array([0.9, 1.3, 3.0])
    y = rmt.singular_value(x, gamma=gamma)
    left = 1 - gamma * (1 + x**2) / (x**2 * (x**2 + gamma))
    right = 1 - (gamma + x**2) / (x**2 * (x**2 + 1))
    found = rmt.shrinkage(y, gamma=gamma)
    np.testing.assert_allclose(found, x * np.sqrt(left * right), rtol=1e-10)
    np.testing.assert_array_equal(rmt.shrinkage(np.array([1.0, 1.7]), gamma=gamma), 0)
    kept = rmt.shrinkage(np.array([1.97, 1.99]), gamma=gamma, loss="hard")
    threshold = rmt.hard_threshold(gamma=gamma)
    assert 1.97 < threshold < 1.99
    np.testing.assert_array_equal(kept, [0, 1.99])


def spiked(m, n, strengths, sigma=0.7, seed=0):
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(rng.normal(size=(m, len(strengths))))[0]
    v = np.linalg.qr(rng.normal(size=(n, len(strengths))))[0]
    signal = u * np.array(strengths) * sigma * max(m, n) ** 0.5 @ v.T
    return signal, signal + sigma * rng.normal(size=(m, n))


@pytest.mark.parametrize("shape", [(200, 100), (100, 200), (150, 150)])
def test_shrink(shape, x64):
    """Better than no shrinkage, than all truncations, and than the hard threshold."""
    signal, x = spiked(*shape, (3, 1.6, 1.2))
    error = lambda found: np.linalg.norm(np.asarray(found) - signal)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    truncated = [error(u[:, :k] * s[:k] @ vt[:k]) for k in range(8)]
    known, unknown = rmt.shrink(x, sigma=0.7), rmt.shrink(x)
    assert max(error(known), error(unknown)) < min(*truncated, error(x))
    np.testing.assert_allclose(error(unknown), error(known), rtol=0.01)
    hard = rmt.shrink(x, sigma=0.7, loss="hard")
    kept = np.linalg.matrix_rank(np.asarray(hard), 1e-8)
    ratio = min(shape) / max(shape)
    level = 0.7 * max(shape) ** 0.5 * float(rmt.hard_threshold(gamma=ratio))
    assert kept == np.sum(s > level) > 0
    np.testing.assert_allclose(hard, u[:, :kept] * s[:kept] @ vt[:kept], atol=1e-10)


@pytest.mark.parametrize("shape", [(200, 50), (50, 200), (100, 100)])
def test_significant_components(shape):
    """None in noise but for 1 %, all that are above the transition, σ²."""
    run = jax.jit(jax.vmap(rmt.significant_components))
    sets = [spiked(*shape, (0, 0), seed=seed)[1] for seed in range(60)]
    found = run(np.stack(sets).astype("f") + 5)
    assert np.sum(np.asarray(found.number) > 0) <= 4
    np.testing.assert_allclose(found.noise, 0.49, rtol=0.15)
    np.testing.assert_allclose(np.mean(found.noise), 0.49, rtol=0.01)
    sets = [spiked(*shape, (4, 2.5, 1.8), seed=seed)[1] for seed in range(20)]
    assert np.mean(np.asarray(run(np.stack(sets).astype("f")).number) == 3) >= 0.95


def test_constant_columns_and_exact_rank():
    """Of noise beside constants none is significant; of rank 2 without noise, 2."""
    noise = RNG.normal(size=(200, 20))
    constant = np.tile(RNG.normal(size=30) * 1e3, (200, 1))
    exact = RNG.normal(size=(200, 2)) @ RNG.normal(size=(2, 50))
    sets = np.stack([np.c_[noise, constant], exact, np.ones((200, 50))]).astype("f")
    found = jax.jit(jax.vmap(rmt.significant_components))(sets)
    np.testing.assert_array_equal(found.number, [0, 2, 0])
    np.testing.assert_allclose(found.noise, [1, 0, 0], atol=0.1)
    alone = rmt.significant_components(noise.astype("f"))
    for a, b in zip(found, alone, strict=True):
        np.testing.assert_allclose(a[0], b, rtol=1e-4)


@pytest.mark.parametrize("exponent", [-65, 40])
def test_significant_components_have_no_unit(exponent):
    """In units in which squares have no float32, and far from the origin."""
    signal, x = spiked(200, 50, (4, 2.5, 1.8))
    x = (np.rint(x * 2**10) / 2**10).astype("f")
    one = rmt.significant_components(x)
    assert one.number == 3
    two = rmt.significant_components(x * np.float32(2.0**exponent))
    assert two.number == 3
    far = rmt.significant_components(x + 1024)
    np.testing.assert_array_equal(far.number, 3)
    np.testing.assert_allclose(far.edge, one.edge, rtol=1e-5)
    known = rmt.significant_components(x * 1024, variance=0.49 * 2.0**20)
    assert known.number == rmt.significant_components(x, variance=0.49).number


def test_largest_of_noise_by_simulation():
    """The 99 % quantile, and the mean -1.2065 of Tracy and Widom's distribution."""
    draws = []
    for seed in range(300):
        x = np.random.default_rng(seed).normal(size=(101, 40))
        draws.append(np.linalg.svd(x, compute_uv=False)[0] ** 2 / 101)
    centre, scale = rmt.largest(rows=101, columns=40)
    unit = (np.array(draws) - float(centre)) / float(scale)
    assert abs(unit.mean() + 1.2065) < 0.25
    assert np.mean(unit > rmt.QUANTILE) < 0.03


def test_refused():
    with pytest.raises(ValueError, match="^loss must be one of"):
        rmt.shrinkage(2.0, gamma=0.5, loss="nuclear")
    with pytest.raises(ValueError, match="^x has 2 rows"):
        rmt.significant_components(np.ones((2, 3)))
    with pytest.raises(ValueError, match="^rows must be at least 2"):
        rmt.largest(rows=1, columns=3)
    with pytest.raises(ValueError, match="^variance must lie in"):
        rmt.edges(gamma=0.5, variance=-1.0)
    value = np.float32(0.3)
    told = jax.jit(
        lambda v: (
            rmt.edges(gamma=0.5, variance=v),
            [f(value, gamma=0.5, variance=v) for f in (rmt.density, rmt.cumulative)],
            rmt.bbp_eigenvalue(value, gamma=0.5, variance=v),
            rmt.median(gamma=0.5, variance=v),
        )
    )(-1.0)
    assert np.isnan(jax.tree.leaves(told)).all()
    with pytest.raises(ValueError, match="^gamma must lie in"):
        rmt.edges(gamma=-1.0)
