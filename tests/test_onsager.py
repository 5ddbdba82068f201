"""The exact Ising model: against all states, published numbers, and its own limits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from jaxml.physics import onsager, statmech

SAMPLES = {"shape": (4, 4), "beta": 0.4}
TC = 2 / math.log(1 + math.sqrt(2))
# T: u, |m|, f of the infinite lattice
INFINITE = {
    1.5: (-1.9511165731, 0.9864996026, -2.0084431854),
    2.0: (-1.7455645753, 0.9113193779, -2.0515856254),
    TC: (-math.sqrt(2), 0.0, -2.109651144608),
    2.3: (-1.3428663877, 0.0, -2.1196288990),
    2.5: (-1.1060792037, 0.0, -2.1984095519),
    3.0: (-0.8173095925, 0.0, -2.4476481956),
}
# L, T: ln Z, u, c, <|m|>, <m²>, U4 of a site, from all states
SMALL = [
    (4, 2.0, 17.1053671187, -1.7553802888, 0.6055326572, 0.9189432674, 0.8689216816),
    (4, TC, 15.5219154588, -1.5656237876, 0.7832668259, 0.8438604448, 0.7613589086),
    (4, 3.0, 13.2810334556, -1.0170696270, 0.6031347143, 0.6012913260, 0.4509881408),
    (3, TC, 9.0202134009, -1.6112463815, 0.6287361056, 0.8710719355, 0.8094299893),
]
# L, T: ln Z, u
KAUFMAN = [
    (8, 2.0, 66.34458188, -1.74568317),
    (8, 2.5, 56.59938876, -1.22232064),
    (16, 2.0, 263.29621043, -1.74553067),
    (16, TC, 238.64225664, -1.45306485),
    (16, 2.5, 225.22884676, -1.13131799),
    (32, 2.0, 1051.10498761, -1.74556453),
    (32, TC, 952.64807955, -1.43365846),
]


def close(result, wanted, digits):
    np.testing.assert_allclose(result, wanted, rtol=0, atol=0.6 * 10.0**-digits)


def energies(states):
    """E of states (m, rows, columns), one bond at a time."""
    rows, columns = states.shape[1:]
    total = np.zeros(len(states))
    for i in range(rows):
        for j in range(columns):
            ahead = states[:, (i + 1) % rows, j] + states[:, i, (j + 1) % columns]
            total -= states[:, i, j] * ahead.astype(float)
    return total


# --- all states ----------------------------------------------------------------------


def test_density_of_states():
    levels = onsager.density_of_states(shape=(2, 2))
    assert dict(zip(*levels)) == {-8: 2, 0: 12, 8: 2}
    levels = onsager.density_of_states(shape=(4, 4))
    half = {32: 2, 24: 32, 20: 64, 16: 424, 12: 1728, 8: 6688, 4: 13568, 0: 20524}
    both = {**half, **{-e: g for e, g in half.items()}}
    assert dict(zip(*levels)) == both
    assert (np.diff(levels.energies) > 0).all()
    states = onsager.states(shape=(3, 4))
    assert len(np.unique(states.reshape(-1, 12), axis=0)) == 2**12
    e, g = onsager.density_of_states(shape=(3, 4))
    values, counts = np.unique(energies(states), return_counts=True)
    np.testing.assert_array_equal(e, values)
    np.testing.assert_array_equal(g, counts)


@pytest.mark.parametrize(("size", "t", "log_z", "u", "c", "m", "square"), SMALL)
def test_small_lattices(x64, size, t, log_z, u, c, m, square):
    """The published numbers, by all states, by levels and by Kaufman's formula."""
    n, shape = size**2, (size, size)
    states = onsager.states(shape=shape)
    w = np.exp(-energies(states) / t)
    ours = states.reshape(-1, n).mean(1)
    close(np.average(abs(ours), weights=w), m, 10)
    close(np.average(ours**2, weights=w), square, 10)
    close(np.log(w.sum()), log_z, 10)
    e, g = onsager.density_of_states(shape=shape)
    close(statmech.log_partition(e, beta=1 / t, degeneracies=g), log_z, 10)
    close(statmech.mean_energy(e, temperature=t, degeneracies=g) / n, u, 10)
    close(statmech.heat_capacity(e, temperature=t, degeneracies=g) / n, c, 10)
    close(onsager.log_partition(beta=1 / t, shape=shape), log_z, 10)
    found = jax.value_and_grad(
        lambda t: onsager.mean_energy(temperature=t, shape=shape)
    )(t)
    close(found, [u, c], 10)


# --- finite lattices -----------------------------------------------------------------


@pytest.mark.parametrize(("size", "t", "log_z", "u"), KAUFMAN)
def test_kaufman(x64, size, t, log_z, u):
    close(onsager.log_partition(beta=1 / t, shape=(size, size)), log_z, 8)
    # The published ones are differences of ln Z, good to a unit of their last digit.
    ours = onsager.mean_energy(temperature=t, shape=(size, size))
    np.testing.assert_allclose(ours, u, rtol=0, atol=1e-8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 2), (2, 5), (5, 2), (3, 5)])
def test_kaufman_of_any_shape(x64, shape):
    """Against all states; rings are (2 cosh β)^N + (2 sinh β)^N, with self-bonds."""
    e, g = onsager.density_of_states(shape=shape)
    for beta in (1e-3, 0.2, 1 / TC, 0.7, 3.0):
        ours = onsager.log_partition(beta=beta, shape=shape)
        wanted = np.log(np.sum(g * np.exp(-beta * e)))
        np.testing.assert_allclose(ours, wanted, rtol=1e-12)
        if shape[0] == 1:
            n = shape[1]
            ring = (2 * np.cosh(beta)) ** n + (2 * np.sinh(beta)) ** n
            np.testing.assert_allclose(ours, np.log(ring) + n * beta, rtol=1e-12)


def test_beale(x64):
    """The first counts of Beale's density of states of 32 x 32 sites, as integers.

    ln(Z e^(-2βN)/2) = N y² + 2N y³ + …, y = e^(-4β): the coefficients, multiples of ½,
    from ln Z at many β, one after another, and from them the states at 8, 12, 16 and 20
    above the ground.
    """
    n, y = 1024, np.linspace(0.005, 0.03, 200)
    beta = -np.log(y) / 4
    log_z = jax.vmap(lambda b: onsager.log_partition(beta=b, shape=(32, 32)))(beta)
    rest = np.asarray(log_z) - 2 * beta * n - np.log(2)
    found = []
    for power in (2, 3, 4, 5):
        columns = (y[:, None] / y[-1]) ** np.arange(12 - power)
        coefficient = np.linalg.lstsq(columns, rest / y**power)[0][0]
        assert abs(2 * coefficient - np.rint(2 * coefficient)) < 0.1
        found.append(np.rint(2 * coefficient) / 2)
        rest = rest - found[-1] * y**power
    a, b, c, d = found
    counts = [2 * a, 2 * b, 2 * c + a**2, 2 * (d + a * b)]
    assert counts == [2048, 4096, 1057792, 4218880]


def test_towards_the_infinite_lattice(x64):
    """Ferdinand and Fisher: L (u + √2) tends to -0.6224 at T_c; elsewhere e^(-L/ξ)."""
    u = onsager.mean_energy(temperature=TC, shape=(64, 64))
    np.testing.assert_allclose(u, -1.42393838, rtol=0, atol=1e-8)
    large = onsager.mean_energy(temperature=TC, shape=(256, 256))
    close(256 * (large + math.sqrt(2)), -0.6224, 4)
    for t in (1.5, 3.5):
        ours = onsager.log_partition(beta=1 / t, shape=(64, 64))
        states = math.log(2) if t < TC else 0
        bulk = -onsager.free_energy(temperature=t) / t
        np.testing.assert_allclose(ours - states, 64**2 * bulk, rtol=1e-12)


# --- the infinite lattice ------------------------------------------------------------


@pytest.mark.parametrize("t", INFINITE)
def test_published_numbers(x64, t):
    u, m, f = INFINITE[t]
    close(onsager.energy(temperature=t), u, 10)
    close(onsager.free_energy(temperature=t), f, 10)
    close(onsager.magnetisation(temperature=t), m, 10)
    close(onsager.CRITICAL_TEMPERATURE, 2.269185314213022, 15)
    close(1 / onsager.CRITICAL_TEMPERATURE, 0.440686793509772, 15)


def onsagers_integral(t):
    """f by Onsager's double integral, one of the two by hand, the other by SciPy."""
    a, b = math.cosh(2 / t) ** 2, math.sinh(2 / t)

    def inner(p):
        d = a - b * math.cos(p)
        return math.log((d + math.sqrt(d * d - b * b)) / 2)

    points = {"points": [0.01, 0.1], "limit": 200, "epsabs": 1e-13, "epsrel": 1e-13}
    integral, _ = integrate.quad(inner, 0, math.pi, **points)
    return -t * (math.log(2) + integral / (2 * math.pi))


def test_free_energy_is_the_integral(x64):
    for t in (0.5, 1.0, 2.0, 2.26, 2.2691, 2.28, 2.5, 10, 1000):
        ours = onsager.free_energy(temperature=t)
        np.testing.assert_allclose(ours, onsagers_integral(t), rtol=2e-11)


def test_each_is_a_derivative_of_the_one_before(x64):
    """-∂f/∂T = (u - f)/T, c = ∂u/∂T: by rule, and by differences that know no rule."""
    t = jnp.array([0.3, 1.0, 2.0, 2.25, 2.3, 3.0, 50.0])

    def of(function):
        return jax.vmap(lambda t: function(temperature=t))

    f, u, c = (
        of(g) for g in (onsager.free_energy, onsager.energy, onsager.heat_capacity)
    )
    slopes = jax.vmap(jax.grad(lambda t: onsager.free_energy(temperature=t)))(t)
    curves = jax.vmap(jax.grad(jax.grad(lambda t: onsager.free_energy(temperature=t))))
    h = 1e-5 * t
    np.testing.assert_allclose(slopes, (f(t) - u(t)) / t, atol=1e-14)
    np.testing.assert_allclose(slopes, (f(t + h) - f(t - h)) / (2 * h), atol=1e-9)
    np.testing.assert_allclose(c(t), (u(t + h) - u(t - h)) / (2 * h), atol=1e-8)
    np.testing.assert_allclose(curves(t), -c(t) / t, rtol=1e-10)


def test_critical_behaviour(x64):
    """c grows as -(8/π) β_c² ln|T - T_c|, and m as |T - T_c|^(1/8)."""
    near = jnp.array([1e-4, 1e-5, 1e-6])
    heat = jax.vmap(lambda d: onsager.heat_capacity(temperature=TC - d))(near)
    np.testing.assert_allclose(np.diff(heat), 8 / np.pi / TC**2 * np.log(10), rtol=2e-3)
    m = jax.vmap(lambda d: onsager.magnetisation(temperature=TC - d))(near)
    np.testing.assert_allclose(m[1:] / m[:-1], 10**-0.125, rtol=1e-4)
    for side in (-1, 1):
        u = onsager.energy(temperature=TC + side * 1e-12)
        np.testing.assert_allclose(u, -math.sqrt(2), atol=1e-10)
    with jax.enable_x64(False):
        assert onsager.heat_capacity(temperature=TC) > 5


@pytest.mark.long
def test_float32_from_cold_to_hot():
    t = np.array([0.0, 0.005, 0.1, 0.5, 1.0, 2.0, 2.3, 5.0, 1e3], np.float32)
    functions = {
        "energy": onsager.energy,
        "free_energy": onsager.free_energy,
        "heat_capacity": onsager.heat_capacity,
        "magnetisation": onsager.magnetisation,
    }
    for name, function in functions.items():
        ours = jax.vmap(lambda t, f=function: f(temperature=t))(t)
        assert ours.dtype == jnp.float32
        with jax.enable_x64(True):
            wanted = jax.vmap(lambda t, f=function: f(temperature=t))(t.astype(float))
        rtol = 1e-3 if name == "heat_capacity" else 3e-6
        np.testing.assert_allclose(ours, wanted, rtol=rtol, atol=1e-6, err_msg=name)
        slope = jax.vmap(jax.grad(lambda t, f=function: f(temperature=t)))(t)
        assert np.isfinite(slope).all(), name
    beta = np.array([1e-3, 0.01, 1 / TC, 1.0, 100.0], np.float32)

    def both(beta):
        return jax.value_and_grad(
            lambda b: onsager.log_partition(beta=b, shape=(64, 64))
        )(beta)

    ours = jax.vmap(both)(beta)
    with jax.enable_x64(True):
        wanted = jax.vmap(both)(beta.astype(float))
    np.testing.assert_allclose(ours[0], wanted[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], wanted[1], rtol=1e-6, atol=1e-6 * 64**2)


def test_bad_input():
    with pytest.raises(ValueError, match=r"^shape has 25 sites; the states of 20"):
        onsager.states(shape=(5, 5))
    with pytest.raises(ValueError, match=r"^shape must be \(rows, columns\), not 4"):
        onsager.density_of_states(shape=4)
    with pytest.raises(ValueError, match=r"^shape must be at least 1, not 0"):
        onsager.log_partition(beta=1.0, shape=(0, 3))
    with pytest.raises(ValueError, match=r"^temperature must lie in \[0, inf\)"):
        onsager.energy(temperature=-1)
    for function in (onsager.energy, onsager.free_energy, onsager.magnetisation):
        for t in (-1.0, jnp.nan):
            assert np.isnan(jax.jit(lambda t, f=function: f(temperature=t))(t))
    for beta in (0.0, -1.0, jnp.nan):
        wrong = jax.jit(lambda b: onsager.log_partition(beta=b, shape=(4, 4)))(beta)
        assert np.isnan(wrong)
