"""Superparamagnetic clustering: its graph by brute force, and rings that it finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import kneighbors_graph

from jaxml.reduction import kmeans
from jaxml.reduction import superparamagnetic as spins
from tests.common.samples import Made

KEY = jax.random.key(0)


def _graph(seed):
    x = np.random.default_rng(seed).normal(size=(12, 3))
    return spins.neighbours(x, count=4)


SAMPLES = {
    "graph": Made(_graph),
    "count": 4,
    "temperatures": np.array([0.05, 0.2]),
    "q": 5,
    "sweeps": 6,
    "burn": 2,
    "correlation": np.random.default_rng(1).uniform(0, 1, 48),
    "threshold": 0.5,
}
ROUGH = {"sample": "drawn; derivatives are cut off"}


def _rings():
    """Two rings and a ball inside one another: 120, 240 and 120 rows."""
    rng = np.random.default_rng(0)
    radius = np.repeat([0.0, 2.0, 4.0], [120, 120, 240])
    angle = rng.uniform(0, 2 * np.pi, 480)
    ring = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return ring + 0.25 * rng.normal(size=(480, 2)), np.repeat(
        [0, 1, 2], [120, 120, 240]
    )


def test_rows_that_are_equal_are_one_cluster():
    """However ties are broken: 9 and 3 equal rows, a pair, and rows on a grid."""
    x = np.repeat(np.float32([[0, 0], [5, 0], [50, 50]]), [9, 3, 2], axis=0)
    order = np.random.default_rng(0).permutation(14)
    graph = spins.neighbours(x[order], count=2)
    labels = spins.clusters(graph, jnp.ones(28))
    names = [
        len(set(np.asarray(labels)[np.isin(order, part)]))
        for part in (np.arange(9), np.arange(9, 12), np.arange(12, 14))
    ]
    assert names == [1, 1, 1]
    grid = np.stack(np.mgrid[:4, :4], axis=2).reshape(-1, 2)
    graph = spins.neighbours(grid, count=2)
    assert len(set(np.asarray(spins.clusters(graph, jnp.ones(32))))) == 1


@pytest.mark.parametrize("n", [2, 12])
def test_neighbours_far_from_the_others(n):
    """Within each of two clouds, in a unit whose squares float32 does not hold."""
    x = np.random.default_rng(2).normal(size=(60, n)).astype(np.float32)
    x[::2] += 1e4
    graph = spins.neighbours(x * np.float32(2.0**-66), count=5)
    near = kneighbors_graph(x.astype(float), 5).toarray() > 0
    coupled = np.asarray(graph.couplings) > 0
    first, second = np.asarray(graph.edges)[coupled].T
    found = np.zeros((60, 60), bool)
    found[first, second] = True
    np.testing.assert_array_equal(found | found.T, near & near.T)


def test_neighbours_are_mutual(x64):
    """Against scikit-learn's directed graph, and J by its formula."""
    x = np.random.default_rng(2).normal(size=(60, 2))
    graph = spins.neighbours(x, count=5)
    near = kneighbors_graph(x, 5).toarray() > 0
    wanted = np.triu(near & near.T)
    coupled = np.asarray(graph.couplings) > 0
    first, second = np.asarray(graph.edges)[coupled].T
    found = np.zeros((60, 60), bool)
    found[first, second] = True
    np.testing.assert_array_equal(found, wanted)
    i, j = np.nonzero(wanted)
    d = np.linalg.norm(x[i] - x[j], axis=1)
    strength = np.zeros((60, 60))
    strength[i, j] = np.exp(-(d**2) / (2 * d.mean() ** 2)) / (2 * len(i) / 60)
    np.testing.assert_allclose(
        np.asarray(graph.couplings)[coupled], strength[first, second], rtol=1e-12
    )


def test_blocks_of_rows():
    """More rows than a block have the neighbours that a line has."""
    x = np.arange(4500.0)[:, None]
    graph = spins.neighbours(x, count=2)
    first, second = np.asarray(graph.edges)[np.asarray(graph.couplings) > 0].T
    inner = (first > 0) & (second < 4499)
    assert np.all(second[inner] - first[inner] == 1)
    assert inner.sum() >= 4490


def test_rings_are_found_where_kmeans_fails():
    x, rings = _rings()
    graph = spins.neighbours(x, count=16)
    temperatures = jnp.array([0.002, 0.03, 1.0])
    found = spins.sample(KEY, graph, temperatures=temperatures, sweeps=150, burn=50)
    labels = np.asarray(spins.clusters(graph, found.correlation[1]))
    assert adjusted_rand_score(rings, labels) > 0.95
    means = kmeans.fit(kmeans.init(KEY, x, k=3), x).params
    assert adjusted_rand_score(rings, kmeans.predict(means, x)) < 0.5
    # Cold: all agree. Hot: spins are free, m that of 480 draws of 20 values.
    cold = np.bincount(spins.clusters(graph, found.correlation[0]))
    assert cold.max() >= 479
    np.testing.assert_allclose(found.correlation[0][graph.couplings > 0], 1, atol=0.02)
    assert found.magnetisation[2] < 0.1
    assert found.susceptibility[1] > 10 * found.susceptibility[2]


def test_clusters_are_connected_parts():
    """A chain cut where the correlation is low; the end keeps its best neighbour."""
    edges = jnp.stack([jnp.arange(5), jnp.arange(1, 6)], axis=1).astype(jnp.int32)
    graph = spins.Graph(edges, jnp.ones(5), jnp.arange(6, dtype=jnp.int32))
    labels = spins.clusters(graph, np.array([0.9, 0.8, 0.3, 0.9, 0.2]))
    np.testing.assert_array_equal(labels, [0, 0, 0, 3, 3, 3])
    labels = spins.clusters(graph, np.array([0.9, 0.8, 0.7, 0.9, 0.2]), threshold=0.5)
    np.testing.assert_array_equal(labels, 0)


def test_rows_that_coincide():
    graph = spins.neighbours(np.ones((6, 2)), count=2)
    assert np.isfinite(graph.couplings).all()


def test_same_key_same_bits():
    graph = _graph(0)

    def run():
        found = spins.sample(
            KEY, graph, temperatures=jnp.array([0.1, 0.3]), q=5, sweeps=6, burn=2
        )
        return b"".join(np.asarray(a).tobytes() for a in found)

    assert len({run() for _ in range(10)}) == 1


def test_bad_arguments():
    with pytest.raises(ValueError, match="^count must be below m = 3, not 3"):
        spins.neighbours(np.ones((3, 2)), count=3)
    with pytest.raises(ValueError, match=r"^correlation has shape|^graph.edges has"):
        spins.clusters(_graph(0), np.ones(3))
