"""Potts spins: against all states of small graphs, SciPy's clusters, Ising's spins."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from jaxml.physics import _clusters, _random_bits, ising, potts

EDGES = np.array([[0, 1], [1, 2], [2, 0], [2, 3], [3, 4]])
COUPLINGS = np.array([1.0, 0.5, 0.8, 1.2, 0.3], np.float32)
SAMPLES = {
    "sites": 12,
    "q": 3,
    "shape": (4, 3),
    "spins": np.array([0, 2, 1, 1, 0]),
    "heat_bath.spins": np.arange(48).reshape(2, 4, 6) % 3,
    "edges": EDGES,
    "couplings": COUPLINGS,
}
Q, T, CHAINS, SWEEPS = 3, 0.9, 512, 600


def states(q, sites):
    return np.array(list(itertools.product(range(q), repeat=sites)))


def energies(spins, edges, couplings):
    """-Σ J δ of each row of spins, (m, n)."""
    return -(couplings * (spins[:, edges[:, 0]] == spins[:, edges[:, 1]])).sum(1)


def seen(indices, sites, q):
    """How often each chain, (sweeps, chains), was in each state: (chains, q^sites)."""
    counts = np.zeros((indices.shape[1], q**sites))
    np.add.at(counts, (np.arange(indices.shape[1])[None], np.asarray(indices)), 1)
    return counts / len(indices)


def agrees(shares, exact):
    """Independent chains' means are the exact ones, by errors estimated from them."""
    mean, error = shares.mean(0), shares.std(0, ddof=1) / math.sqrt(len(shares))
    deviations = (mean - exact) / error
    print(f"largest deviation {abs(deviations).max():.2f}, rms {deviations.std():.2f}")
    assert abs(deviations).max() < 4.5
    assert 0.8 < np.sqrt(np.mean(deviations**2)) < 1.2


# --- graphs --------------------------------------------------------------------------


def test_swendsen_wang_on_a_graph():
    """Each of the 3^5 states of a triangle with a tail, as often as Boltzmann says."""
    all_states = states(Q, 5)
    p = np.exp(-energies(all_states, EDGES, COUPLINGS) / T)
    place = jnp.asarray(Q ** np.arange(5)[::-1])

    def step(spins, key):
        keys = jax.random.split(key, CHAINS)
        spins, _ = jax.vmap(
            lambda key, s: potts.swendsen_wang(
                key, s, EDGES, COUPLINGS, q=Q, temperature=T
            )
        )(keys, spins)
        return spins, spins @ place

    start = jnp.zeros((CHAINS, 5), jnp.int32)
    keys = jax.random.split(jax.random.key(0), SWEEPS)
    indices = jax.jit(lambda: jax.lax.scan(step, start, keys)[1])()
    agrees(seen(indices[20:], 5, Q), p / p.sum())


def test_clusters_at_zero_temperature():
    """All edges between equal spins are bonds: SciPy's components, by lowest site."""
    rng = np.random.default_rng(0)
    n, q = 300, 4
    edges = rng.integers(0, n, (700, 2))
    couplings = rng.uniform(0.1, 1, 700) * (rng.random(700) < 0.8)
    spins = potts.init(jax.random.key(3), sites=n, q=q)
    new, labels = potts.swendsen_wang(
        jax.random.key(4), spins, edges, couplings, q=q, temperature=0.0
    )
    s = np.asarray(spins)
    bonds = (couplings > 0) & (s[edges[:, 0]] == s[edges[:, 1]])
    np.testing.assert_array_equal(labels, lowest(n, edges[bonds]))
    assert (np.asarray(new)[labels] == np.asarray(new)).all()
    shares = np.bincount(np.asarray(new)[np.unique(labels)], minlength=q)
    assert shares.min() > 0.1 * shares.sum()


def lowest(n, edges):
    """The lowest site of the component of each of n sites, by SciPy."""
    graph = coo_array((np.ones(len(edges)), tuple(edges.T)), (n, n))
    number, component = connected_components(graph, directed=False)
    first = np.full(number, n)
    np.minimum.at(first, component, np.arange(n))
    return first[component]


@pytest.mark.parametrize("p", [0.3, 0.5, 0.9])
def test_labels(p):
    """Two 24 x 10 lattices, bonds by chance, the snake of all sites, and no bond."""
    rng = np.random.default_rng(1)
    shape, sites = (2, 24, 10), np.arange(480).reshape(2, 24, 10)
    down, right = rng.random((2, *shape)) < p
    ahead = [np.roll(sites, -1, 1), np.roll(sites, -1, 2)]
    edges = np.stack([np.stack([sites, a], -1) for a in ahead])
    chosen = edges[np.stack([down, right])]
    ours = jax.jit(_clusters.of_lattice)(down, right)
    np.testing.assert_array_equal(np.ravel(ours), lowest(480, chosen))
    order = rng.permutation(480).astype(np.int32)
    snake = np.stack([order[:-1], order[1:]], 1)
    label = jax.jit(_clusters.of_graph, static_argnums=2)
    assert (label(np.ones(479, bool), snake, 480) == 0).all()
    assert (label(np.zeros(479, bool), snake, 480) == np.arange(480)).all()


def test_bonds_have_their_probability():
    """1 - e^(-J/T), and a bond of coupling 0 or at T = 0 never or always."""
    j = np.array([0.0, 1e-6, 0.5, 3.0, 40.0], np.float32)
    limits = np.asarray(_random_bits.of_bond(j, jnp.float32(0.7)), float) / 2**31
    np.testing.assert_allclose(limits, -np.expm1(-j.astype(float) / 0.7), atol=3e-10)
    cold = _random_bits.of_bond(j, jnp.float32(0))
    np.testing.assert_array_equal(cold, np.array([0, 1, 1, 1, 1]) * 2**31)


def test_energy_and_lattice():
    for shape in ((5,), (2, 3), (3, 4, 5)):
        edges = potts.lattice(shape=shape)
        assert edges.shape == (len(shape) * math.prod(shape), 2)
        sites = np.arange(math.prod(shape)).reshape(shape)
        pairs = [
            [np.ravel(sites), np.roll(sites, -1, a).ravel()] for a in range(len(shape))
        ]
        wanted = sorted(zip(*np.concatenate(pairs, 1)))
        assert sorted(map(tuple, edges)) == wanted
    spins = states(Q, 5)[::17]
    ours = jax.vmap(lambda s: potts.energy(s, EDGES, COUPLINGS))(spins)
    np.testing.assert_allclose(ours, energies(spins, EDGES, COUPLINGS), rtol=1e-6)
    slope = jax.grad(lambda j: potts.energy(spins[3], EDGES, j))(COUPLINGS)
    equal = spins[3][EDGES[:, 0]] == spins[3][EDGES[:, 1]]
    np.testing.assert_array_equal(slope, -equal.astype(float))
    # Two values are Ising's two, with twice the coupling, but for a constant.
    s = np.asarray(ising.init(jax.random.key(0), shape=(4, 6)))
    edges = potts.lattice(shape=(4, 6))
    twice = potts.energy((s.ravel() + 1) // 2, edges, np.full(48, 2.0)) / 24
    np.testing.assert_allclose(twice + 2, ising.energy(s), rtol=1e-6)


# --- square lattices -----------------------------------------------------------------


@pytest.mark.parametrize("coupling", [1.0, -1.0])
def test_heat_bath(coupling):
    """Each of the 3^4 states of a 2 x 2 lattice as often as Boltzmann says."""
    t, edges = 2.0, potts.lattice(shape=(2, 2))
    p = np.exp(-energies(states(Q, 4), edges, coupling) / t)
    place = jnp.asarray(Q ** np.arange(4)[::-1])

    def sweep(spins, key):
        spins = potts.heat_bath(key, spins, q=Q, temperature=t, coupling=coupling)
        return spins, spins.reshape(CHAINS, 4) @ place

    start = jnp.zeros((CHAINS, 2, 2), jnp.int32)
    keys = jax.random.split(jax.random.key(1), SWEEPS)
    indices = jax.jit(lambda: jax.lax.scan(sweep, start, keys)[1])()
    agrees(seen(indices[50:], 4, Q), p / p.sum())


@pytest.mark.long
def test_samplers_agree():
    """q = 4 on 6 x 4 sites, by single spins and by clusters: the same mean energy."""
    shape, q, t = (6, 4), 4, 1.0
    edges = potts.lattice(shape=shape)
    couplings = np.ones(len(edges), np.float32)

    def energy(spins):
        return jax.vmap(lambda s: potts.energy(s.reshape(-1), edges, couplings))(spins)

    def local(spins, key):
        spins = potts.heat_bath(key, spins, q=q, temperature=t)
        return spins, energy(spins)

    def clusters(spins, key):
        keys = jax.random.split(key, 128)
        spins = jax.vmap(
            lambda k, s: (
                potts.swendsen_wang(
                    k, s.reshape(-1), edges, couplings, q=q, temperature=t
                ).spins
            )
        )(keys, spins).reshape(128, *shape)
        return spins, energy(spins)

    found = []
    start = jnp.zeros((128, *shape), jnp.int32)
    for step, sweeps in ((local, 1000), (clusters, 300)):
        keys = jax.random.split(jax.random.key(sweeps), sweeps)
        seen = jax.jit(lambda keys, step=step: jax.lax.scan(step, start, keys)[1])(keys)
        found.append(np.asarray(seen[sweeps // 5 :]).mean(0))
    a, b = found
    error = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 128)
    print(f"heat bath {a.mean():.3f}, clusters {b.mean():.3f} ± {error:.3f}")
    assert abs(a.mean() - b.mean()) < 3 * error


def test_heat_bath_at_zero_temperature():
    """Whatever lowers the energy most; ties by chance."""
    spins = potts.init(jax.random.key(0), sites=4 * 64, q=5).reshape(4, 8, 8)
    edges, ones = potts.lattice(shape=(8, 8)), np.ones(128, np.float32)
    energy = jax.vmap(lambda s: potts.energy(s.reshape(-1), edges, ones))
    for key in jax.random.split(jax.random.key(1), 4):
        new = potts.heat_bath(key, spins, q=5, temperature=0.0)
        assert (energy(new) <= energy(spins)).all()
        spins = new
    alone = jnp.ones((8, 8), jnp.int32).at[3, 4].set(4)
    alone = potts.heat_bath(jax.random.key(2), alone, q=5, temperature=0.0)
    assert (alone == 1).all()


def test_order_parameter_and_critical_temperature(x64):
    assert potts.order_parameter(np.full(6, 2), q=3) == 1
    assert potts.order_parameter(np.arange(6) % 3, q=3) == 0
    wanted = {2: 1.1345926571, 3: 0.9949728611, 4: 0.9102392266, 20: 0.5883498404}
    for q, t in wanted.items():
        np.testing.assert_allclose(potts.critical_temperature(q=q), t, atol=6e-11)
    ising_t = potts.critical_temperature(q=2, coupling=2.0)
    np.testing.assert_allclose(ising_t, 2.269185314213022, rtol=1e-15)


def test_same_key_same_bits():
    """Ten runs give one answer."""
    edges, ones = potts.lattice(shape=(6, 6)), np.ones(72, np.float32)
    spins = potts.init(jax.random.key(0), sites=36, q=3)

    def run():
        clusters = potts.swendsen_wang(
            jax.random.key(1), spins, edges, ones, q=3, temperature=1.0
        )
        local = potts.heat_bath(
            jax.random.key(2), spins.reshape(6, 6), q=3, temperature=1.0
        )
        return b"".join(np.asarray(a).tobytes() for a in (*clusters, local))

    assert len({run() for _ in range(10)}) == 1


def test_bad_input():
    key, spins = jax.random.key(0), SAMPLES["spins"]
    step = potts.swendsen_wang
    options = {"q": 3, "temperature": 1.0}
    with pytest.raises(ValueError, match=r"^edges holds the label 5, not one of 0 … 4"):
        step(key, spins, EDGES + 1, COUPLINGS, **options)
    with pytest.raises(ValueError, match=r"^spins holds the label 3, not one of 0 … 2"):
        step(key, spins + 1, EDGES, COUPLINGS, **options)
    with pytest.raises(ValueError, match=r"^couplings must lie in \[0, inf\)"):
        step(key, spins, EDGES, -COUPLINGS, **options)
    with pytest.raises(ValueError, match=r"^spins has shape \(5, 1\), not \(n,\)"):
        step(key, spins[:, None], EDGES, COUPLINGS, **options)
    with pytest.raises(ValueError, match=r"^spins has 3 x 4 sites"):
        potts.heat_bath(key, np.zeros((3, 4), int), **options)
    with pytest.raises(ValueError, match=r"^spins has shape \(4,\)"):
        potts.heat_bath(key, np.zeros(4, int), **options)
    with pytest.raises(ValueError, match=r"^q must be at least 1, not 0"):
        potts.critical_temperature(q=0)

    # Under jit it shows in what comes out.
    run = jax.jit(lambda s, e, j, t: step(key, s, e, j, q=3, temperature=t))
    heat = jax.jit(lambda s, t: potts.heat_bath(key, s, q=3, temperature=t))
    square = np.zeros((4, 4), int)
    good = (spins, EDGES, COUPLINGS, 1.0)
    assert (run(*good).spins >= 0).all()
    for i, wrong in enumerate((spins + 1, EDGES + 1, -COUPLINGS, -1.0)):
        result = run(*good[:i], wrong, *good[i + 1 :])
        assert (result.spins == -1).all()
        assert (result.labels == -1).all()
    assert (heat(square, 1.0) >= 0).all()
    for wrong in ((square + 3, 1.0), (square, -1.0), (square, jnp.nan)):
        assert (heat(*wrong) == -1).all()
    assert np.isnan(jax.jit(potts.energy)(spins, EDGES + 1, COUPLINGS))
    order = jax.jit(lambda s: potts.order_parameter(s, q=2))
    assert np.isnan(order(spins))
