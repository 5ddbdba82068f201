"""Ising spins: drawn as exact formulas say, and seen as exact averages say."""

import hashlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from jaxml.data import datasets
from jaxml.physics import _random_bits, ising, onsager
from tests.common.samples import Made
from tests.depth import cases

TC = onsager.CRITICAL_TEMPERATURE


def _spins(seed, shape=(2, 4, 6)):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), shape)


_any = Made(lambda seed: np.random.default_rng(seed).normal(size=(2, 4, 6)))
SAMPLES = {
    "shape": (2, 4, 6),
    "heat_bath.spins": Made(_spins),
    "swendsen_wang.spins": Made(_spins),
    "sample.spins": Made(_spins),
    "spins": _any,
    "sweeps": 4,
    "every": 2,
    "m": Made(lambda seed: np.random.default_rng(seed).normal(size=9)),
    "energies": Made(lambda seed: np.random.default_rng(seed).normal(size=9)),
    "weights": np.random.default_rng(5).uniform(0.5, 2, 9),
    "sites": 16.0,
}
ROUGH = {"sample": "draws have no derivatives, and none is given"}


def close(result, wanted, digits):
    np.testing.assert_allclose(result, wanted, rtol=0, atol=0.6 * 10.0**-digits)


def bonds(s):
    """Σ s_i s_j of lattices (..., rows, columns), one bond at a time."""
    rows, columns = s.shape[-2:]
    total = np.zeros(s.shape[:-2])
    for i in range(rows):
        for j in range(columns):
            ahead = s[..., (i + 1) % rows, j] + s[..., i, (j + 1) % columns]
            total += s[..., i, j] * ahead.astype(float)
    return total


# --- one sweep, one step -------------------------------------------------------------


@pytest.mark.parametrize(("t", "coupling", "field"), [(2.0, 1, 0), (1.5, -0.7, 0.4)])
def test_heat_bath_is_fermis_function(t, coupling, field):
    """From one configuration, 40,000 times: the share of ups at each site.

    Those drawn first see the old neighbours, the others the new ones: given these, the
    mean of s - tanh(h/T) is 0 at each site, and its variance is known.
    """
    count = 40_000
    old = _spins(3, (4, 6))
    start = jnp.asarray(np.broadcast_to(old, (count, 4, 6)))
    new = ising.heat_bath(
        jax.random.key(0), start, temperature=t, coupling=coupling, field=field
    )
    new = np.asarray(new).astype(int)
    first = np.add.outer(np.arange(4), np.arange(6)) % 2 == 0
    for s, colour in ((np.asarray(start), first), (new, ~first)):
        around = sum(
            np.roll(s, step, axis).astype(int) for step in (1, -1) for axis in (1, 2)
        )
        up = expit(2 * (coupling * around + field) / t)
        excess = (new == 1) - up
        error = np.sqrt((up * (1 - up)).sum(0))
        deviations = (excess.sum(0) / error)[colour]
        print(f"largest deviation {abs(deviations).max():.2f} of {deviations.size}")
        assert abs(deviations).max() < 3.5


@pytest.mark.parametrize("coupling", [1.0, -1.0])
def test_clusters(coupling):
    """What a step of Swendsen and Wang must look like, at every bond and cluster."""
    t, p = 2.0, 1 - math.exp(-2 / 2.0)
    old = _spins(4, (3000, 6, 4))
    new, labels = ising.swendsen_wang(
        jax.random.key(0), old, temperature=t, coupling=coupling
    )
    new, labels = np.asarray(new), np.asarray(labels)
    sites = np.arange(24)
    flat = labels.reshape(-1, 24)
    assert (flat <= sites).all()
    np.testing.assert_array_equal(np.take_along_axis(flat, flat, 1), flat)
    # Within a cluster all are flipped or none is; no bond is against the coupling.
    ratio = (new * old).reshape(-1, 24)
    np.testing.assert_array_equal(np.take_along_axis(ratio, flat, 1), ratio)
    flips = ratio[flat == sites]
    assert abs(np.mean(flips)) < 4 / math.sqrt(len(flips))
    for axis in (1, 2):
        good = coupling * old * np.roll(old, -1, axis) > 0
        same = labels == np.roll(labels, -1, axis)
        assert same[good].mean() > p  # by the bond, or another way round
        # Sites of one cluster are joined by satisfied bonds only.
        colours = old * (coupling > 0) + (coupling < 0) * old * _staggered(6, 4)
        assert (colours == np.roll(colours, -1, axis))[same].all()
    # A pair of sites on its own: one bond (twice, as a side of 2 has it), no detour.
    pairs = jnp.ones((100_000, 2, 1), jnp.int8)
    together = ising.swendsen_wang(jax.random.key(1), pairs, temperature=t).labels
    share = np.mean(np.asarray(together)[:, 1, 0] == 0)
    wanted = 1 - (1 - p) ** 2
    assert abs(share - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / 1e5)


def _staggered(rows, columns):
    return 1 - 2 * (np.add.outer(np.arange(rows), np.arange(columns)) % 2)


def test_zero_temperature():
    """Spins follow their field, and toss a coin where there is none."""
    old = jnp.asarray(_spins(5, (20, 6, 6)))
    new = old
    for key in jax.random.split(jax.random.key(0), 3):
        last, new = new, ising.heat_bath(key, new, temperature=0.0)
        assert (ising.energy(new) <= ising.energy(last)).all()
    free = ising.heat_bath(jax.random.key(1), old, temperature=0.0, coupling=0.0)
    assert abs(np.mean(np.asarray(free, float))) < 4 / math.sqrt(720)
    down = ising.heat_bath(
        jax.random.key(1), old, temperature=0.0, coupling=0.0, field=-1e-3
    )
    assert (down == -1).all()
    ordered = ising.swendsen_wang(jax.random.key(2), old * 0 + 1, temperature=0.0)
    assert (ordered.labels == 0).all()
    assert (abs(np.asarray(ordered.spins, float).mean((1, 2))) == 1).all()


@pytest.mark.parametrize("t", [0.4, 0.5, 1.0, 2.0, 50.0])
def test_rare_events_keep_their_probability(t):
    """Of each sum of neighbours; e^-16 = 1.1e-7 is two steps of a float32 below 1."""
    limits, _ = ising._limits(jnp.float32(t), jnp.float32(1), jnp.float32(0.25))
    h = np.array([-4, -2, 0, 2, 4]) + 0.25
    ours = np.asarray(limits, np.int64)
    exact = 2.0**31 * expit(2 * h / t)
    np.testing.assert_allclose(ours[h < 0], exact[h < 0], atol=0.6, rtol=1e-6)
    np.testing.assert_allclose(
        2**31 - ours[h > 0], 2.0**31 * expit(-2 * h[h > 0] / t), atol=0.6, rtol=1e-6
    )


def test_random_bits_are_uniform():
    """31 bits, in 32 bins; and two numbers of one word, almost independent."""
    numbers = _random_bits.bits(jax.random.key(0), (10**6,))
    one, two = _random_bits.bits_for_two(jax.random.key(1), (10**6,))
    for each in (numbers, one, two):
        shares = np.bincount(np.asarray(each) >> 26, minlength=32) / 1e6
        assert len(shares) == 32
        np.testing.assert_allclose(shares, 1 / 32, atol=5 * math.sqrt(1 / 32e6))
    one, two = np.asarray(one, np.int64), np.asarray(two, np.int64)
    assert abs(np.corrcoef(one, two)[0, 1]) < 5e-3

    # Half of a word, and what the other number has of it, one to one.
    def scrambled(half):
        return half * _random_bits.SCRAMBLE % 2**16

    np.testing.assert_array_equal(one % 2**15, scrambled(two >> 15) >> 1)
    np.testing.assert_array_equal(two % 2**15, scrambled(one >> 15) >> 1)
    half = np.arange(2**16)
    other = scrambled(half)
    assert len(np.unique(other)) == 2**16
    # Where one's upper half ties with its limit, of probability 2^-16, and two's may.
    for a, b in np.random.default_rng(0).integers(0, 2**16, (300, 2)):
        both = np.mean((other < a) & (half < b))
        assert 2 * abs(both - a * b / 2**32) / 2**16 < 1e-8


# --- averages ------------------------------------------------------------------------

CASES = [(2.0, 1.0, 0.0), (TC, 1.0, 0.0), (3.0, 1.0, 0.2), (2.5, -1.0, 0.3)]


@pytest.mark.parametrize(
    ("method", "shape"),
    cases(
        [("heat_bath", (4, 4)), ("swendsen_wang", (4, 4)), ("swendsen_wang", (3, 3))],
        quick=[("heat_bath", (4, 4))],
    ),
)
def test_averages_of_all_states(method, shape):
    """u, |m|, m² and its estimate, with fields and couplings of both signs."""
    chains, sweeps = 400, 600
    start = ising.init(jax.random.key(0), shape=(chains, *shape))
    t, j, h = jnp.array(CASES).T

    def run(key, t, j, h):
        return ising.sample(
            key,
            start,
            temperature=t,
            coupling=j,
            field=h,
            sweeps=sweeps,
            method=method,
        )

    keys = jax.random.split(jax.random.key(1), len(CASES))
    runs = jax.jit(jax.vmap(run))(keys, t, j, h)
    states = onsager.states(shape=shape)
    n = states[0].size
    bond, m = bonds(states), states.reshape(-1, n).mean(1)
    for i, (t, j, h) in enumerate(CASES):
        e = -j * bond - h * n * m
        w = np.exp(-(e - e.min()) / t)
        exact = [np.average(a, weights=w) for a in (e / n, abs(m), m**2, m**2, m)]
        records = (runs.energy, runs.magnetisation, runs.square)
        u, mine, square = (np.asarray(a[i, 100:]) for a in records)
        mine = [u, abs(mine), mine**2, square, mine]
        means = np.stack([a.mean(0) for a in mine])
        error = means.std(1, ddof=1) / math.sqrt(chains)
        deviations = (means.mean(1) - exact) / error
        print(f"{method} T={t:.3f} J={j} H={h}: {np.round(deviations, 2)}")
        assert abs(deviations).max() < 3
        if method == "swendsen_wang":
            # The estimate by clusters varies less than what it estimates.
            assert square.var() < mine[2].var()


def agree_with_kaufman(size, method, chains, burn, sweeps):
    """Independent lattices at three temperatures, half from order, half from chaos."""
    t = jnp.array([2.0, TC, 2.5])
    half = (chains // 2, size, size)
    start = jnp.concatenate(
        [jnp.ones(half, jnp.int8), ising.init(jax.random.key(7), shape=half)]
    )

    @jax.jit
    @jax.vmap
    def run(key, t):
        first, second = jax.random.split(key)
        spins = ising.sample(
            first, start, temperature=t, sweeps=burn, method=method
        ).spins
        return ising.sample(
            second, spins, temperature=t, sweeps=sweeps, method=method
        ).energy.mean(0)

    u = np.asarray(run(jax.random.split(jax.random.key(size), 3), t))
    error = u.std(1, ddof=1) / math.sqrt(chains)
    for i in range(3):
        with jax.enable_x64(True):
            exact = onsager.mean_energy(temperature=float(t[i]), shape=(size, size))
        deviation = (u[i].mean() - float(exact)) / error[i]
        print(
            f"L={size} T={t[i]:.4f} {method}: {u[i].mean():.5f} ± {error[i]:.5f}, "
            f"exact {exact:.5f}, {deviation:+.2f} standard errors"
        )
        assert abs(deviation) < 3


@pytest.mark.parametrize("method", ising.METHODS)
@pytest.mark.parametrize("size", [4, pytest.param(8, marks=pytest.mark.long)])
def test_exact_energies(size, method):
    sweeps = 1500 if method == "heat_bath" else 300
    agree_with_kaufman(size, method, 128, sweeps // 3, sweeps)


@pytest.mark.long
@pytest.mark.parametrize("method", ising.METHODS)
@pytest.mark.parametrize("size", [16, 32])
def test_exact_energies_of_larger_lattices(size, method):
    sweeps = 20 * size**2 if method == "heat_bath" else 400
    agree_with_kaufman(size, method, 64, sweeps // 2, sweeps)


def test_what_a_run_holds():
    """Records are those of the configurations kept, and every leaf has its shape."""
    key, start = jax.random.key(3), ising.init(jax.random.key(0), shape=(3, 4, 6))
    for method in ising.METHODS:
        run = ising.sample(
            key,
            start,
            temperature=2.2,
            coupling=0.8,
            field=0.3,
            sweeps=6,
            every=2,
            method=method,
        )
        assert run.kept.shape == (3, 3, 4, 6)
        assert run.kept.dtype == run.spins.dtype == jnp.int8
        np.testing.assert_array_equal(run.kept[-1], run.spins)
        assert (abs(np.asarray(run.kept, int)) == 1).all()
        kept = np.asarray(run.kept).astype(float)
        m = kept.mean((2, 3))
        e = -0.8 * bonds(kept) / 24 - 0.3 * m
        np.testing.assert_allclose(run.energy[1::2], e, atol=1e-6)
        np.testing.assert_allclose(run.magnetisation[1::2], m, atol=1e-6)
        np.testing.assert_allclose(
            ising.energy(run.kept, coupling=0.8, field=0.3), e, atol=1e-6
        )
    heat = ising.heat_bath(jax.random.key(9), start, temperature=2.0)
    alone = ising.heat_bath(jax.random.key(9), start[0], temperature=2.0)
    assert heat.shape == (3, 4, 6)
    assert alone.shape == (4, 6)


def test_same_key_same_bits():
    """Ten runs of each method give one hash."""
    start = jnp.ones((2, 8, 8), jnp.int8)
    for method in ising.METHODS:
        hashes = set()
        for _ in range(10):
            run = ising.sample(
                jax.random.key(5), start, temperature=TC, sweeps=20, method=method
            )
            parts = [np.asarray(leaf).tobytes() for leaf in run if leaf is not None]
            hashes.add(hashlib.sha256(b"".join(parts)).hexdigest())
        assert len(hashes) == 1


def test_one_trace_for_all_values():
    start = jnp.ones((2, 8, 8), jnp.int8)
    ising.sample(jax.random.key(0), start, temperature=TC, sweeps=20)
    before = ising.sample.traces
    for t, j in ((1.0, 1), (np.float32(2), -0.5), (3, jnp.float32(2))):
        ising.sample(jax.random.key(1), start, temperature=t, coupling=j, sweeps=20)
    assert ising.sample.traces == before


def test_x64(x64):
    """Energies in float64 are exact rational numbers."""
    start = jnp.ones((6, 6), jnp.int8)
    run = ising.sample(jax.random.key(0), start, temperature=3.0, sweeps=5)
    assert run.energy.dtype == jnp.float64
    whole = np.asarray(run.energy) * 36
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-12)
    assert run.spins.dtype == jnp.int8


# --- order parameters ----------------------------------------------------------------


def mixture():
    """All states of 4 x 4 sites, (65536, 4, 4), and their weights at T = 1.6 … 2.9."""
    states = onsager.states(shape=(4, 4)).astype(float)
    e = -bonds(states)
    w = np.exp(-(e[None] + 32) / np.arange(1.6, 2.95, 0.1)[:, None])
    return states, (w / w.sum(1, keepdims=True)).mean(0)


def test_first_component_is_the_magnetisation(x64):
    """PCA of the exact ensemble: ratio = ⟨m²⟩, v = ±¼, spectrum = structure factor."""
    states, p = mixture()
    x = states.reshape(-1, 16)
    assert abs(p @ x).max() < 1e-12  # centred by symmetry
    values, vectors = np.linalg.eigh((x * p[:, None]).T @ x)
    wanted = [12.0200055818, *[0.4265852206] * 4, 0.2416641248]
    close(values[::-1][:6], wanted, 10)
    np.testing.assert_allclose(abs(vectors[:, -1]), 0.25, atol=1e-10)
    m = np.asarray(ising.magnetisation(states))
    ratio, square = values[-1] / values.sum(), p @ m**2
    close(ratio, 0.7512503489, 10)
    close(square, 0.7512503489, 10)
    assert abs(ratio - square) < 1e-14
    spectrum = np.tensordot(p, np.asarray(ising.structure_factor(states)), 1)
    np.testing.assert_allclose(np.sort(spectrum.ravel()), values, atol=1e-10)
    # Of an antiferromagnet it is the staggered magnetisation.
    turned = (states * _staggered(4, 4)).reshape(-1, 16)
    _, vectors = np.linalg.eigh((turned * p[:, None]).T @ turned)
    np.testing.assert_allclose(
        vectors[:, -1] * vectors[0, -1] * 16, _staggered(4, 4).ravel(), atol=1e-9
    )


def test_ring(x64):
    """Eight spins in a ring: the spectrum is the Fourier transform of correlations."""
    t, n = 1.5, 8
    states = onsager.states(shape=(1, n)).astype(float)
    w = np.exp((states * np.roll(states, -1, 2)).sum((1, 2)) / t)
    spectrum = np.average(np.asarray(ising.structure_factor(states)), 0, weights=w)[0]
    r, x = np.arange(n), math.tanh(1 / t)
    correlations = (x**r + x ** (n - r)) / (1 + x**n)
    np.testing.assert_allclose(spectrum, np.fft.fft(correlations).real, atol=1e-12)
    close((1 + x) / (1 - x), 3.7936678947, 10)
    long = onsager.states(shape=(1, 16)).astype(float)
    w = np.exp((long * np.roll(long, -1, 2)).sum((1, 2)) / 4)
    ours = np.average(np.asarray(ising.structure_factor(long)), 0, weights=w)[0, 0]
    x = math.tanh(1 / 4)
    np.testing.assert_allclose(ours, (1 + x) / (1 - x), rtol=1e-8)


# T: U4 and c of 4 x 4 sites
EXACT = {2.0: (0.6448107912, 0.6055326572), TC: (0.6171993184, 0.7832668259)}


@pytest.mark.parametrize("t", EXACT)
def test_moments_of_all_states(x64, t):
    """Binder's cumulant, the heat capacity and the susceptibility, by weights."""
    states = onsager.states(shape=(4, 4))
    e = np.asarray(ising.energy(states.astype(float)))
    m = np.asarray(ising.magnetisation(states.astype(float)))
    w = np.exp(-16 * (e - e.min()) / t)
    cumulant, heat = EXACT[t]
    close(ising.binder_cumulant(m, weights=w), cumulant, 10)
    c = ising.heat_capacity(e, temperature=t, sites=16, weights=w)
    close(c, heat, 10)

    def response(field):
        """⟨m⟩ in a field, by all states."""
        p = jnp.exp(-16 * (e - e.min()) / t + 16 * field * m / t)
        return jnp.sum(p * m) / jnp.sum(p)

    chi = ising.susceptibility(m, temperature=t, sites=16, weights=w)
    np.testing.assert_allclose(chi, jax.grad(response)(0.0), rtol=1e-12)
    # Without weights, of states drawn as often as they are likely.
    twice = np.repeat(m[:5], 2)
    ours = ising.binder_cumulant(twice)
    np.testing.assert_allclose(
        ours, 1 - (m[:5] ** 4).mean() / (3 * (m[:5] ** 2).mean() ** 2)
    )


def test_local_fields(x64):
    """-N ∂(E/N)/∂s is the field that a spin feels."""
    s = _spins(0, (4, 6)).astype(float)
    slope = jax.grad(lambda s: ising.energy(s, coupling=0.7, field=0.2))(s)
    around = sum(np.roll(s, d, a) for d in (1, -1) for a in (0, 1))
    np.testing.assert_allclose(-24 * slope, 0.7 * around + 0.2, rtol=1e-12)


# --- data ----------------------------------------------------------------------------


def test_ising_samples():
    """Independent lattices at each temperature, up and down alike, as energies say."""
    made = {"size": 8, "temperatures": [1.6, 2.2, 3.0], "count": 100, "sweeps": 20}
    data = datasets.ising_samples(jax.random.key(1), **made)
    assert data.x.dtype == np.int8
    assert data.x.shape == (300, 64)
    assert (abs(data.x) == 1).all()
    np.testing.assert_array_equal(data.temperature, np.repeat([1.6, 2.2, 3.0], 100))
    np.testing.assert_array_equal(data.y, np.repeat([0, 0, 1], 100))
    lattices = data.x.reshape(3, 100, 8, 8)
    u = -bonds(lattices) / 64
    for i, t in enumerate((1.6, 2.2, 3.0)):
        exact = float(onsager.mean_energy(temperature=t, shape=(8, 8)))
        assert abs(u[i].mean() - exact) < 3 * u[i].std() / 10
        ups = np.sum(lattices[i].mean((1, 2), dtype=float) > 0)
        assert 30 < ups < 70
    again = datasets.ising_samples(jax.random.key(1), **made)
    np.testing.assert_array_equal(data.x, again.x)
    for name, wrong in (("temperatures", []), ("temperatures", [0.0]), ("count", 0)):
        with pytest.raises(ValueError, match=rf"^{name}\b"):
            datasets.ising_samples(jax.random.key(1), **{**made, name: wrong})
    with pytest.raises(ValueError, match=r"^key must be made by jax.random.key"):
        datasets.ising_samples(0)


# --- bad input -----------------------------------------------------------------------


def test_bad_input():
    key, spins = jax.random.key(0), np.ones((4, 4), np.int8)
    for step in (ising.heat_bath, ising.swendsen_wang, ising.sample):
        more = {"sweeps": 2} if step is ising.sample else {}
        with pytest.raises(ValueError, match=r"^spins has shape \(4,\)"):
            step(key, spins[0], temperature=1.0, **more)
        with pytest.raises(ValueError, match=r"^temperature must lie in \[0, inf\)"):
            step(key, spins, temperature=-1.0, **more)
        with pytest.raises(ValueError, match=r"^field must be finite"):
            step(key, spins, temperature=1.0, field=jnp.inf, **more)
    with pytest.raises(ValueError, match=r"^spins has 3 x 4 sites: a checkerboard"):
        ising.heat_bath(key, spins[:3], temperature=1.0)
    with pytest.raises(ValueError, match=r"^every must divide sweeps: 3 does not"):
        ising.sample(key, spins, temperature=1.0, sweeps=10, every=3)
    with pytest.raises(ValueError, match=r"^method must be one of 'heat_bath', 'swen"):
        ising.sample(key, spins, temperature=1.0, sweeps=10, method="wolff")
    with pytest.raises(ValueError, match=r"^sweeps must be at least 1"):
        ising.sample(key, spins, temperature=1.0, sweeps=0)
    with pytest.raises(ValueError, match=r"^spins has shape \(3,\)"):
        ising.energy(np.ones(3))

    # Under jit it shows in what comes out.
    for method in ising.METHODS:

        def run(t, j, h, method=method):
            return ising.sample(
                key,
                spins,
                temperature=t,
                coupling=j,
                field=h,
                sweeps=2,
                every=1,
                method=method,
            )

        cases = jnp.array([[1, 1, 0], [-1, 1, 0], [1, jnp.nan, 0], [1, 1, jnp.inf]])
        runs = jax.jit(jax.vmap(run))(*cases.T)
        assert np.isfinite(runs.energy[0]).all()
        for wrong in (runs.energy, runs.magnetisation, runs.square):
            assert np.isnan(wrong[1:]).all()
        assert (runs.spins[0] != 0).all()
        assert (runs.spins[1:] == 0).all()
        assert (runs.kept[1:] == 0).all()
    wrong = jax.jit(lambda t: ising.heat_bath(key, spins, temperature=t))(jnp.nan)
    assert (wrong == 0).all()
