"""Principal components as a whole: Ising's order parameter, devices, the same bits."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import check
from jaxml.reduction import pca

# --- order parameters -----------------------------------------------------------------


@functools.cache
def ensemble():
    """All 2^16 states of 4 x 4 spins, and their energies, each bond counted once."""
    bits = np.arange(2**16)[:, None] >> np.arange(16)[None] & 1
    spins = 2.0 * bits - 1
    grid = spins.reshape(-1, 4, 4)
    bonds = grid * np.roll(grid, 1, 1) + grid * np.roll(grid, 1, 2)
    return spins, -bonds.sum(axis=(1, 2))


def boltzmann(temperatures, sign=1):
    """Weights of the states, each temperature with the same share of the snapshots."""
    energy = sign * ensemble()[1]
    w = [np.exp(-(energy - energy.min()) / t) for t in temperatures]
    return np.mean([each / each.sum() for each in w], axis=0)


TEMPERATURES = np.arange(1.6, 2.95, 0.1)  # 1.6, 1.7 … 2.9


def test_the_first_component_is_the_magnetisation(x64):
    """Of a mixture of temperatures: ratio = ⟨m²⟩, and plane waves for directions."""
    spins, _ = ensemble()
    weights = boltzmann(TEMPERATURES)
    fit = check(pca.fit(spins, k=16, weights=weights))
    m = spins.mean(axis=1)
    ratio = pca.explained_variance_ratio(fit.params)
    np.testing.assert_allclose(ratio[0], weights @ m**2, rtol=0, atol=1e-13)
    np.testing.assert_allclose(ratio[0], 0.7512503489, rtol=0, atol=6e-11)
    np.testing.assert_allclose(fit.params.u[:, 0], 0.25)
    known = [12.0200055818, *[0.4265852206] * 4, 0.2416641248]
    np.testing.assert_allclose(fit.params.variances[:6], known, rtol=0, atol=6e-11)
    np.testing.assert_allclose(fit.params.total, 16)
    z = np.asarray(pca.transform(fit.params, spins))[:, 0]
    np.testing.assert_allclose(z, 4 * m, atol=1e-12)
    # S(k) = ⟨|Σ s e^(-ikr)|²⟩ / 16 are the other eigenvalues.
    waves = np.abs(np.fft.fft2(spins.reshape(-1, 4, 4))) ** 2 / 16
    structure = np.sort(np.tensordot(weights, waves, 1).ravel())[::-1]
    np.testing.assert_allclose(fit.params.variances, structure, atol=1e-12)


def test_antiferromagnet(x64):
    """Neighbours that repel: the staggered magnetisation."""
    spins, _ = ensemble()
    fit = check(pca.fit(spins, k=1, weights=boltzmann([1.5], -1)))
    staggered = (-1.0) ** np.add.outer(np.arange(4), np.arange(4)).ravel()
    np.testing.assert_allclose(fit.params.u[:, 0], 0.25 * staggered)


@pytest.mark.parametrize("find", ["power", "moments", "float32"])
def test_the_same_by_other_ways(find, x64):
    spins, weights = ensemble()[0], boltzmann(TEMPERATURES)
    if find == "power":
        start = pca.init(jax.random.key(0), n=16, k=1)
        params = check(pca.power(start, spins, weights=weights, tol=1e-8)).params
    elif find == "moments":
        halves = np.split(spins, 2), np.split(weights, 2)
        parts = [pca.moments(x, weights=w) for x, w in zip(*halves, strict=True)]
        params = pca.from_moments(pca.merge(*parts), k=1)
    else:
        w = (weights / weights.max()).astype("f")
        params = check(pca.fit(spins.astype("f"), k=1, weights=w)).params
    ratio = pca.explained_variance_ratio(params)
    digits = 1e-6 if find == "float32" else 6e-11
    np.testing.assert_allclose(ratio, [0.7512503489], rtol=0, atol=digits)


# --- machines -------------------------------------------------------------------------

PROGRAM = """
import functools
import jax
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxml import pca

mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
split = NamedSharding(mesh, PartitionSpec("rows"))
rng = np.random.default_rng(0)
x, w = rng.normal(size=(44, 4)) * [4, 3, 2, 1] + 100, np.ones(44)
padded = [np.concatenate([a, np.zeros((4, *a.shape[1:]))]) for a in (x, w)]
rows, weights = [jax.device_put(jnp.asarray(a, jnp.float32), split) for a in padded]

def close(a, b):
    for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-4)

alone = pca.fit(x, k=2).params
for solver in ("auto", "eigen", "svd"):
    close(pca.fit(rows, k=2, weights=weights, solver=solver).params, alone)
key = jax.random.key(0)
close(pca.randomised(key, rows, k=2, weights=weights, tol=1e-5).params, alone)
z = jax.jit(pca.transform)(alone, rows)
assert z.sharding.is_equivalent_to(split, 2)
text = jax.jit(pca.moments).lower(rows, weights=weights).compile().as_text()
assert "all-reduce" in text and "all-gather" not in text
whole = pca.moments(rows, weights=weights)
parts = [pca.moments(part) for part in np.split(x, 4)]
close(whole, functools.reduce(pca.merge, parts))
close(pca.from_moments(whole, k=2), alone)
print("the same")
"""


def test_sharded_rows_give_the_same_answer():
    """Rows laid over eight devices, filled up with rows of weight 0."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "the same\n"


def test_the_same_bits():
    """Ten runs of each solver on one array give one answer."""
    x = np.random.default_rng(0).normal(size=(5000, 12)).astype("f")
    for solver in ("eigen", "svd"):
        found = {
            b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fit))
            for fit in (pca.fit(x, k=3, solver=solver).params for _ in range(10))
        }
        assert len(found) == 1


def test_wide_covariances_are_made_in_panels():
    """From 256 columns, and in blocks from 4,000 rows: against NumPy in float64."""
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(4500, 260)) * np.geomspace(9, 1, 260) + 50).astype("f")
    weights = rng.uniform(0.5, 2, 4500).astype("f")
    exact = np.cov(x.T.astype(float), aweights=weights, ddof=0)
    values, vectors = np.linalg.eigh(exact)
    fit = check(pca.fit(jnp.asarray(x), k=4, weights=weights, solver="eigen"))
    np.testing.assert_allclose(fit.params.variances, values[::-1][:4], rtol=1e-5)
    cosines = np.abs(np.sum(np.asarray(fit.params.u) * vectors[:, ::-1][:, :4], axis=0))
    np.testing.assert_allclose(cosines, 1, atol=1e-4)
