"""Statistical mechanics against sums by hand, published numbers, its own identities."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize

from jaxml import Status
from jaxml.physics import statmech
from tests.common.samples import Made

SAMPLES = {
    "particles": 1.3,
    "beta": 0.7,
    "degeneracies": np.array([1.0, 2.0, 3.0]),
    "bose_einstein.energies": np.array([[0.3, 1.0], [2.0, 5.0]]),
    "features": Made(lambda seed: np.random.default_rng(seed).normal(size=(12, 3))),
    "targets": np.array([0.1, -0.1, 0.0]),
    "params": statmech.Params(np.array([0.3, -0.2, 0.1])),
}
LEVELS = np.array([0, 0.5, 1, 2, 4])
G = np.array([2.0, 1, 3, 1, 2])
CANONICAL = {
    "free_energy": statmech.free_energy,
    "mean_energy": statmech.mean_energy,
    "entropy": statmech.entropy,
    "heat_capacity": statmech.heat_capacity,
}
FACES = np.arange(1.0, 7)[:, None]


def close(result, wanted, digits=12):
    np.testing.assert_allclose(result, wanted, rtol=0, atol=0.6 * 10.0**-digits)


# --- fermions -------------------------------------------------------------------------


def test_fermi_levels(x64):
    """Numbers of levels (0, ½, 1, 2, 4) at T = ½."""
    mu = statmech.chemical_potential(LEVELS, particles=1, temperature=0.5)
    close(mu, 0.080053634504)

    def omega(mu, t):
        return statmech.grand_potential(LEVELS, chemical_potential=mu, temperature=t)

    close(omega(mu, 0.5), -0.652190212990)
    minus_n, minus_s = jax.grad(omega, (0, 1))(mu, 0.5)
    close(-minus_n, 1)
    close(-minus_s, 1.807281170210)
    mu = statmech.chemical_potential(LEVELS, particles=2, temperature=0.5)
    close(mu, 0.826393402126)
    f = statmech.fermi_dirac(LEVELS, chemical_potential=mu, temperature=0.5)
    close(f, [0.83926734, 0.65763819, 0.41405838, 0.08728754, 0.00174856], 8)


def test_fermi_function(x64):
    t, mu = 0.7, 0.3

    def f(e):
        return statmech.fermi_dirac(e, chemical_potential=mu, temperature=t)

    e = jnp.linspace(-5.0, 5, 41)
    close(f(mu + e) + f(mu - e), 1, 15)
    slope = jax.vmap(jax.grad(f))(e)
    close(-slope, 1 / (4 * t) / np.cosh((e - mu) / (2 * t)) ** 2, 14)
    ends = [
        optimize.brentq(lambda e, p=p: float(f(e)) - p, -20, 20) for p in (0.1, 0.9)
    ]
    close((ends[0] - ends[1]) / t, 4.394449154672, 10)
    x = np.linspace(-40, 40, 20001)  # the trapezoidal rule is exact to e^-40
    bell = -jax.vmap(jax.grad(statmech.fermi_dirac))(jnp.asarray(x)) * x**2
    close(integrate.trapezoid(bell, x), 3.289868133696)


def test_grand_potential_has_all_observables(x64):
    args = jnp.asarray(LEVELS), 0.9, 0.3

    def omega(e, mu, t):
        return statmech.grand_potential(
            e, chemical_potential=mu, temperature=t, degeneracies=G
        )

    f = statmech.fermi_dirac(LEVELS, chemical_potential=0.9, temperature=0.3)
    close(omega(*args), -0.3 * np.sum(G * np.log1p(np.exp((0.9 - LEVELS) / 0.3))), 13)
    of_levels, of_mu, of_t = jax.grad(omega, (0, 1, 2))(*args)
    close(of_levels, G * f, 14)
    close(-of_mu, np.sum(G * f), 14)
    close(-of_t, -np.sum(G * (f * np.log(f) + (1 - f) * np.log(1 - f))), 13)
    # The response of N is its fluctuation.
    close(-jax.grad(jax.grad(omega, 1), 1)(*args), np.sum(G * f * (1 - f)) / 0.3, 13)


def test_hinge_is_cold_softplus(x64):
    """T ln(1 + e^(x/T)) -> max(0, x), and is off by T ln 2 at most."""
    x = jnp.linspace(-3.0, 3, 61)
    for t in (1.0, 0.1, 1e-3, 0.0):
        each = jax.vmap(partial(statmech.grand_potential, temperature=t))
        soft = -each(-x[:, None])
        close(np.max(soft - np.maximum(x, 0)), t * math.log(2), 14)


@pytest.mark.parametrize("seed", range(3))
def test_chemical_potential_in_any_case(x64, seed):
    """Against a root of the sum by SciPy, from hot to cold, for many fillings."""
    rng = np.random.default_rng(seed)
    e, g = rng.normal(size=5), rng.integers(1, 5, 5).astype(float)
    for t in (30.0, 1.0, 0.1, 0.02):
        for n in rng.uniform(0.01, g.sum() - 0.01, 3):

            def excess(mu, n=n, t=t):
                return np.sum(g / (1 + np.exp(np.clip((e - mu) / t, -700, 700)))) - n

            wanted = optimize.brentq(excess, -500, 500, xtol=1e-14)
            mu = statmech.chemical_potential(
                e, particles=n, temperature=t, degeneracies=g
            )
            np.testing.assert_allclose(mu, wanted, rtol=1e-11, atol=1e-11)


def test_chemical_potential_has_derivatives(x64):
    def mu(e, n, t, g):
        return statmech.chemical_potential(
            e, particles=n, temperature=t, degeneracies=g
        )

    at = jnp.asarray(LEVELS), 2.2, 0.4, jnp.asarray(G)

    @jax.jit
    def derivatives(*at):
        both = jax.jacrev(mu, (0, 1, 2, 3)), jax.jacfwd(mu, (0, 1, 2, 3))
        return [jacobian(*at) for jacobian in both], jax.grad(jax.grad(mu, 2), 2)(*at)

    (slopes, forward), bend = derivatives(*at)
    for i in range(4):
        flat = np.atleast_1d(at[i])
        for j in range(flat.size):
            ends = []
            for sign in (1, -1):
                moved = flat.copy()
                moved[j] += sign * 1e-5
                moved = moved if np.ndim(at[i]) else moved[0]
                ends.append(mu(*at[:i], moved, *at[i + 1 :]))
            wanted = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(np.atleast_1d(slopes[i])[j], wanted, rtol=1e-7)
    for a, b in zip(slopes, forward):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    # A second derivative, of the first.
    first = [derivatives(*at[:2], t, at[3])[0][0][2] for t in (0.4001, 0.3999)]
    np.testing.assert_allclose(bend, (first[0] - first[1]) / 2e-4, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("t", [1e-2, 1e-3, 1e-7, 1e-30, 0.0])
def test_fermi_level_in_a_gap(dtype, t):
    """A gap of 100 T and more, where occupations underflow: its middle."""
    with jax.enable_x64(dtype == "float64"):
        e, eps = jnp.asarray(LEVELS, dtype), np.finfo(dtype).eps

        def mu(e, n, t, g):
            return statmech.chemical_potential(
                e, particles=n, temperature=t, degeneracies=g
            )

        # Between a level of 3 states that is full and one of 1: μ = middle + T/2 ln 3.
        level, (of_e, of_n, of_t) = jax.value_and_grad(mu, (0, 1, 2))(
            e, 6.0, t, jnp.asarray(G, dtype)
        )
        np.testing.assert_allclose(level, 1.5 + t / 2 * math.log(3), rtol=4 * eps)
        np.testing.assert_allclose(of_e, [0, 0, 0.5, 0.5, 0], atol=20 * eps)
        np.testing.assert_allclose(of_t, math.log(3) / 2, rtol=20 * eps)
        assert np.isfinite(of_n)
        # A level that is filled by a third holds μ: E + T ln(⅓/⅔).
        level, (of_e, of_n, of_t) = jax.value_and_grad(mu, (0, 1, 2))(
            e, 4.0, t, jnp.asarray(G, dtype)
        )
        np.testing.assert_allclose(level, 1 - t * math.log(2), rtol=4 * eps)
        np.testing.assert_allclose(of_e, [0, 0, 1, 0, 0], atol=20 * eps)
        np.testing.assert_allclose(of_t, -math.log(2), rtol=20 * eps)
        np.testing.assert_allclose(of_n, t * 3 / 2, rtol=20 * eps)


def test_fermi_level_beyond_reach():
    for n in (5, 6.0):
        assert np.isnan(statmech.chemical_potential(LEVELS, particles=n))
    run = jax.jit(
        lambda n, t: statmech.chemical_potential(LEVELS, particles=n, temperature=t)
    )
    assert np.isnan(run(0.0, 1.0))
    assert np.isnan(run(1.0, -1.0))
    assert np.isnan(run(jnp.nan, 1.0))


def test_fermi_level_of_many_levels():
    """A half-filled band of 10,000 levels in float32, its order shuffled."""
    e = np.random.default_rng(0).permutation(np.linspace(-1, 1, 10001)).astype("f")
    for t in (10.0, 0.1, 1e-3, 1e-6, 0.0):
        mu = statmech.chemical_potential(e, particles=5000.5, temperature=t)
        np.testing.assert_allclose(mu, 0, atol=2e-5 * max(t, 0.1))


# --- bosons ---------------------------------------------------------------------------


def test_bosons(x64):
    e = np.array([0.2, 1.0, 3.0, 50.0])
    n = statmech.bose_einstein(e, chemical_potential=0.1, temperature=0.5)
    np.testing.assert_allclose(n, 1 / np.expm1((e - 0.1) / 0.5), rtol=1e-14)
    assert statmech.bose_einstein(1.0, chemical_potential=1.0) == np.inf
    assert np.isnan(statmech.bose_einstein(0.9, chemical_potential=1.0))
    # Planck: ∫ x³ n(x) dx = π⁴/15; at x = 0 the integrand is 0.
    x = np.linspace(0, 60, 60001)[1:]
    energy = integrate.simpson(np.append(0, x**3 * statmech.bose_einstein(x)), dx=1e-3)
    close(energy, np.pi**4 / 15, 9)


# --- the canonical ensemble -----------------------------------------------------------


def test_three_levels(x64):
    e = np.array([0.0, 1, 2])
    close(jnp.exp(statmech.log_partition(e)), 1.503214724408)
    close(statmech.mean_energy(e), 0.424789617396)
    close(statmech.entropy(e), 0.832395581840)
    close(statmech.free_energy(e), -0.407605964444)
    close(statmech.heat_capacity(e), 0.424404544689)


def test_schottky(x64):
    """The heat capacity of two levels has its maximum where it should."""

    def c(t):
        return statmech.heat_capacity(jnp.array([0.0, 1]), temperature=t)

    close(c(0.416778283294), 0.439228839891)
    root = 1.199678640257734  # of x tanh x = 1
    slope = jax.jit(jax.grad(c))
    top = optimize.brentq(lambda t: float(slope(t)), 0.3, 0.6, xtol=1e-15)
    close(top, 1 / (2 * root), 13)


@pytest.mark.parametrize("g", [None, G], ids=["simple", "degenerate"])
@pytest.mark.parametrize("t", [0.2, 1.0, 7.0])
def test_canonical_sums(x64, t, g):
    """Every observable as a sum by hand, and as a derivative of one function."""
    each = np.ones(5) if g is None else g
    w = each * np.exp(-LEVELS / t)
    z, p = w.sum(), w / w.sum()
    u, s = p @ LEVELS, -np.sum(p * np.log(p / each))
    c = (p @ LEVELS**2 - u**2) / t**2
    wanted = {"free_energy": u - t * s, "mean_energy": u, "entropy": s}
    for name, value in {**wanted, "heat_capacity": c}.items():
        close(CANONICAL[name](LEVELS, temperature=t, degeneracies=g), value, 13)
    close(statmech.boltzmann(LEVELS, temperature=t, degeneracies=g), p, 14)

    def log_z(beta, e):
        return statmech.log_partition(e, beta=beta, degeneracies=g)

    beta, e = 1 / t, jnp.asarray(LEVELS)
    close(log_z(beta, e), np.log(z), 13)
    close(-jax.grad(log_z)(beta, e), u, 13)
    close(beta**2 * jax.grad(jax.grad(log_z))(beta, e), c, 13)
    close(-jax.grad(log_z, 1)(beta, e) / beta, p, 14)

    def free(e, t):
        return statmech.free_energy(e, temperature=t, degeneracies=g)

    of_e, of_t = jax.grad(free, (0, 1))(e, t)
    close(of_e, p, 14)
    close(-of_t, s, 13)
    close(-t * jax.grad(jax.grad(free, 1), 1)(e, t), c, 12)

    def energy(t):
        return statmech.mean_energy(e, temperature=t, degeneracies=g)

    close(jax.grad(energy)(t), c, 13)


def test_boltzmann_is_softmax_and_its_response_a_covariance(x64):
    logits = jnp.array([0.3, -1.0, 2.0, 0.1])
    p = jax.nn.softmax(logits)
    jacobian = jax.jacobian(lambda z: statmech.boltzmann(-z))(logits)
    close(jacobian, np.diag(p) - np.outer(p, p), 15)
    cold = statmech.boltzmann(-logits, temperature=0.4)
    close(cold, jax.nn.softmax(logits / 0.4), 15)


@jax.jit
def _cold(e, g, t):
    """F, U, S and C, and their derivatives in energies and temperature."""

    def all_of(e, t):
        values = [of(e, temperature=t, degeneracies=g) for of in CANONICAL.values()]
        return jnp.stack(values)

    return all_of(e, t), *jax.jacrev(all_of, (0, 1))(e, t)


@pytest.mark.parametrize("t", [0.0, 1e-38, 1e-20, 1e-3])
def test_zero_temperature(t):
    """Float32, down to the limit: observables and their derivatives."""
    e = jnp.array([1.0, -2, 3, -2, 1e30])
    g = jnp.array([1.0, 1, 5, 2, 1])
    p = [0, 1 / 3, 0, 2 / 3, 0]
    values, of_e, of_t = _cold(e, g, t)
    wanted = [-2 - t * math.log(3), -2, math.log(3), 0]
    np.testing.assert_allclose(values, wanted, rtol=1e-6)
    np.testing.assert_allclose(of_e[:2], [p, p], rtol=1e-6)
    np.testing.assert_allclose(of_t, [-math.log(3), 0, 0, 0], rtol=1e-6)
    assert np.isfinite(of_e).all()
    np.testing.assert_allclose(
        statmech.boltzmann(e, temperature=t, degeneracies=g), p, rtol=1e-6
    )


@pytest.mark.parametrize("t", [0.0, 1e-38, 1e-20, 1e-3])
def test_steps_at_zero_temperature(t):
    e = jnp.array([-1e30, 0.9, 1.0, 1.1, 1e30])
    value, slopes = jax.vmap(
        jax.value_and_grad(
            lambda e, t: statmech.fermi_dirac(e, chemical_potential=1.0, temperature=t),
            (0, 1),
        ),
        (0, None),
    )(e, t)
    np.testing.assert_array_equal(value, [1, 1, 0.5, 0, 0])
    far = np.array([0, 1, 3, 4])
    assert (np.array(slopes)[:, far] == 0).all()
    assert np.isfinite(slopes).all()

    def omega(e, mu, t):
        return statmech.grand_potential(e, chemical_potential=mu, temperature=t)

    value, (of_e, of_mu, of_t) = jax.value_and_grad(omega, (0, 1, 2))(e[1:4], 1.0, t)
    np.testing.assert_allclose(value, -0.1 - t * math.log(2), rtol=1e-5)
    np.testing.assert_array_equal(of_e, [1, 0.5, 0])
    assert of_mu == -1.5
    np.testing.assert_allclose(of_t, -math.log(2), rtol=1e-6)
    bosons = statmech.bose_einstein(e[3:], chemical_potential=1.0, temperature=t)
    np.testing.assert_array_equal(bosons, [0, 0])


def test_joules():
    """Energies of 1e-21 J in float32, whose squares underflow."""
    unit, g = 1.380649e-23 * 300, jnp.asarray(G, jnp.float32)
    e = jnp.asarray(LEVELS, jnp.float32)
    for name, power in (("mean_energy", 1), ("entropy", 0), ("heat_capacity", 0)):
        si = CANONICAL[name](e * unit, temperature=0.7 * unit, degeneracies=g)
        wanted = CANONICAL[name](e, temperature=0.7, degeneracies=g)
        np.testing.assert_allclose(si / unit**power, wanted, rtol=1e-5)

    def free(t):
        return statmech.free_energy(e * unit, temperature=t, degeneracies=g)

    wanted = statmech.entropy(e, temperature=0.7, degeneracies=g)
    np.testing.assert_allclose(-jax.grad(free)(0.7 * unit), wanted, rtol=1e-5)
    mu = statmech.chemical_potential(
        e * unit, particles=6, temperature=0.7 * unit, degeneracies=g
    )
    wanted = statmech.chemical_potential(
        e, particles=6, temperature=0.7, degeneracies=g
    )
    np.testing.assert_allclose(mu / unit, wanted, rtol=1e-5)


def test_levels_without_states_do_not_matter():
    e, g = jnp.array([-9.0, 0, 1]), jnp.array([0.0, 2, 1])

    @jax.jit
    @jax.value_and_grad
    def everything(e, g, t):
        values = [of(e, temperature=t, degeneracies=g) for of in CANONICAL.values()]
        return jnp.vdot(jnp.arange(1.0, 5), jnp.stack(values))

    for t in (0.0, 0.5):
        value, slope = everything(e, g, t)
        wanted, slopes = everything(e[1:], g[1:], t)
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
        assert slope[0] == 0
        np.testing.assert_allclose(slope[1:], slopes, rtol=1e-6)


# --- maximum entropy ------------------------------------------------------------------


def test_dice(x64):
    """Jaynes' dice: of mean 4.5, and a fair one."""
    fit = statmech.maximum_entropy(FACES, [4.5], tol=1e-12)
    assert fit.status == Status.CONVERGED
    close(fit.params.multipliers, 0.371048938081)
    p = statmech.gibbs(fit.params, FACES)
    wanted = [0.05435317, 0.07877155, 0.11415998, 0.16544680, 0.23977444, 0.34749407]
    close(p, wanted, 8)
    close(fit.cost, 1.613581098154)
    close(-np.sum(p * np.log(p)), 1.613581098154)
    fair = statmech.maximum_entropy(FACES, [3.5], tol=1e-12)
    close(fair.params.multipliers, 0)
    close(fair.cost, math.log(6))


def test_a_canonical_ensemble_has_greatest_entropy(x64):
    """For a given energy, -1/T is the multiplier; a degeneracy is a weight."""
    u = statmech.mean_energy(LEVELS, temperature=0.8, degeneracies=G)
    fit = statmech.maximum_entropy(LEVELS[:, None], u[None], weights=G, tol=1e-12)
    close(fit.params.multipliers, -1 / 0.8, 11)
    close(fit.cost, statmech.entropy(LEVELS, temperature=0.8, degeneracies=G))
    p = statmech.gibbs(fit.params, LEVELS[:, None], weights=G)
    close(p, statmech.boltzmann(LEVELS, temperature=0.8, degeneracies=G), 11)


def test_weights_are_repeated_states(x64):
    rng = np.random.default_rng(3)
    f, counts = rng.normal(size=(9, 2)), rng.integers(0, 4, 9)
    targets = np.average(f, axis=0, weights=counts) + 0.1
    weighted = statmech.maximum_entropy(f, targets, weights=counts, tol=1e-12)
    repeated = statmech.maximum_entropy(
        np.repeat(f, counts, axis=0), targets, tol=1e-12
    )
    close(weighted.params.multipliers, repeated.params.multipliers, 11)
    close(weighted.cost, repeated.cost, 13)
    p = statmech.gibbs(weighted.params, f, weights=counts)
    close(p @ f, targets, 11)
    assert (p[counts == 0] == 0).all()
    # Against SciPy, which maximises the entropy over p itself.
    keep = counts > 0
    q, g = f[keep], counts[keep]
    found = optimize.minimize(
        lambda p: np.sum(p * np.log(p / g)),
        g / g.sum(),
        method="SLSQP",
        bounds=[(1e-9, 1)] * len(g),
        constraints={
            "type": "eq",
            "fun": lambda p: np.append(p @ q - targets, p.sum() - 1),
        },
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(p[keep], found.x, atol=1e-6)
    np.testing.assert_allclose(weighted.cost, -found.fun, rtol=1e-10)


def test_multipliers_have_derivatives(x64):
    """dλ/dμ is the inverse of the covariance, and dS/dμ = -λ."""
    fit = statmech.maximum_entropy(FACES, [4.5], tol=1e-12)
    p = statmech.gibbs(fit.params, FACES)
    variance = p @ FACES[:, 0] ** 2 - 4.5**2

    def of(mu):
        fit = statmech.maximum_entropy(FACES, mu[None], tol=1e-12)
        return fit.params.multipliers[0], fit.cost

    slope, rise = jax.jacrev(of)(4.5)
    close(slope, 1 / variance, 11)
    close(rise, -0.371048938081)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_impossible_means(dtype):
    """Outside of the hull of the features, and on its edge, there is no multiplier."""
    with jax.enable_x64(dtype == "float64"):
        for mean in (6.5, 100.0, 6.0, -3.0):
            fit = statmech.maximum_entropy(FACES.astype(dtype), np.array([mean], dtype))
            assert fit.status == Status.UNBOUNDED, mean
        square = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.3, 0.6]], dtype)
        for mean in ([1.1, 0.5], [0.5, 1.0], [1.0, 1.0], [2.0, -1.0]):
            fit = statmech.maximum_entropy(square, np.array(mean, dtype))
            assert fit.status == Status.UNBOUNDED, mean
        for mean in ([0.99, 0.5], [0.02, 0.97]):
            fit = statmech.maximum_entropy(square, np.array(mean, dtype))
            assert fit.status == Status.CONVERGED, mean
            p = statmech.gibbs(fit.params, square)
            np.testing.assert_allclose(p @ square, mean, atol=1e-5)
        twice = np.concatenate([FACES, 2 * FACES], axis=1).astype(dtype)
        fit = statmech.maximum_entropy(twice, np.array([4.5, 9], dtype))
        assert fit.status == Status.SINGULAR


@pytest.mark.parametrize("unit", [4e-21, 2.0**-120, 2.0**-20, 2.0**20, 1e30])
def test_features_in_any_unit(unit):
    """Energies in joules at room temperature are 4e-21; λ has the inverse unit."""
    fit = statmech.maximum_entropy(FACES * unit, [4.5 * unit])
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params.multipliers * unit, 0.371048938, rtol=1e-5)
    np.testing.assert_allclose(fit.cost, 1.613581098, rtol=1e-6)
    slope = jax.jvp(
        lambda mu: statmech.maximum_entropy(FACES * unit, mu).cost,
        (jnp.float32([4.5 * unit]),),
        (jnp.float32([unit]),),
    )[1]
    np.testing.assert_allclose(slope, -0.371048938, rtol=1e-4)


@pytest.mark.parametrize("held", [1e6, -1e6])
def test_states_of_weight_zero_are_not_there(held):
    faces = np.append(FACES, [[held]], axis=0)
    weights = np.append(np.ones(6), 0)
    fit = statmech.maximum_entropy(faces, [4.5], weights=weights)
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params.multipliers, 0.371048938, rtol=1e-5)
    p = statmech.gibbs(fit.params, faces, weights=weights)
    without = statmech.gibbs(fit.params, FACES)
    np.testing.assert_allclose(p, np.append(without, 0), rtol=1e-6)


@pytest.mark.parametrize("energy", [1e6, -1e6])
def test_levels_without_states_are_not_there(energy):
    levels, g = np.append(LEVELS, energy), np.append(G, 0)
    options = {"temperature": 0.8, "degeneracies": g}
    known = {"temperature": 0.8, "degeneracies": G}
    p = statmech.boltzmann(levels, **options)
    without = statmech.boltzmann(LEVELS, **known)
    np.testing.assert_allclose(p, np.append(without, 0), rtol=1e-6)
    for function in (statmech.mean_energy, statmech.heat_capacity, statmech.entropy):
        value = function(levels, **options)
        np.testing.assert_allclose(value, function(LEVELS, **known), rtol=1e-5)


def test_a_weight_of_zero_takes_a_face_away():
    fit = statmech.maximum_entropy(FACES, [5.5], weights=[1, 1, 1, 1, 1, 0])
    assert fit.status == Status.UNBOUNDED


def test_batches_and_one_trace():
    statmech.maximum_entropy(FACES, [2.5])
    before = statmech.maximum_entropy.traces
    means = jnp.array([[2.0], [3.5], [4.5], [7.0]])
    many = jax.vmap(lambda mu: statmech.maximum_entropy(FACES, mu))(means)
    assert many.status.tolist() == [0, 0, 0, Status.UNBOUNDED]
    np.testing.assert_allclose(many.params.multipliers[2], 0.371048938, rtol=1e-5)
    levels = jnp.stack([jnp.asarray(LEVELS, jnp.float32) * s for s in (1.0, 2.0)])
    mu = jax.vmap(lambda e: statmech.chemical_potential(e, particles=2))(levels)
    for i in range(2):
        alone = statmech.chemical_potential(levels[i], particles=2)
        np.testing.assert_allclose(mu[i], alone, rtol=1e-6)
    assert statmech.maximum_entropy.traces == before
    before = statmech.chemical_potential.traces
    for n, t in ((1, 0.5), (2.5, 1), (np.float32(1.5), 0.0)):
        statmech.chemical_potential(levels[0], particles=n, temperature=t)
    assert statmech.chemical_potential.traces == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: statmech.free_energy(LEVELS, temperature=-1),
            r"^temperature must lie",
        ),
        (
            lambda: statmech.entropy(LEVELS, degeneracies=-G),
            r"^degeneracies must lie in \[0, inf\)",
        ),
        (lambda: statmech.entropy(LEVELS[None]), r"^energies has shape \(1, 5\)"),
        (
            lambda: statmech.chemical_potential(LEVELS, particles=0),
            r"^particles must lie in \(0, inf\)",
        ),
        (
            lambda: statmech.maximum_entropy(FACES, [1.0, 2.0]),
            r"^targets has shape \(2,\), not \(n,\) where m = 6, n = 1",
        ),
        (
            lambda: statmech.gibbs(statmech.Params(jnp.ones(2)), FACES),
            r"^params.multipliers has shape \(2,\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
