"""Plane spins: against integrals over all angles, rings, and their own symmetries."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ive

from jaxml.physics import xy
from tests.common.samples import Made

SAMPLES = {
    "shape": (2, 4, 6),
    "angles": Made(lambda seed: np.random.default_rng(seed).normal(size=(2, 4, 6))),
    "sweeps": 4,
    "every": 2,
}
ROUGH = {"sample": "draws have no derivatives, and none is given"}
CHAINS, SWEEPS = 512, 400


def means(run, exact):
    """Independent chains' means of energy and m², in standard errors from the exact."""
    square = np.sum(np.asarray(run.magnetisation) ** 2, -1)
    seen = np.stack([run.energy, square])[:, SWEEPS // 10 :].mean(1)
    error = seen.std(1, ddof=1) / math.sqrt(CHAINS)
    deviations = (seen.mean(1) - exact) / error
    print(f"{seen.mean(1)}, exact {np.array(exact)}: {np.round(deviations, 2)}")
    assert abs(deviations).max() < 3


def sampled(key, shape, **options):
    start = jnp.zeros((CHAINS, *shape))
    return xy.sample(jax.random.key(key), start, sweeps=SWEEPS, **options)


@pytest.mark.parametrize(("t", "coupling"), [(1.0, 1.0), (2.0, -1.0)])
def test_four_spins(t, coupling):
    """Energy and m² of 2 x 2 sites, each bond twice, by an integral over angles."""
    grid = 2 * np.pi * np.arange(48) / 48
    a, b, c = np.meshgrid(grid, grid, grid, indexing="ij")
    e = -2 * coupling * (np.cos(a) + np.cos(a - c) + np.cos(c - b) + np.cos(b))
    w = np.exp(-(e - e.min()) / t)
    x, y = (1 + np.cos(a) + np.cos(b) + np.cos(c)) / 4, np.sin(a) + np.sin(b)
    square = x**2 + ((y + np.sin(c)) / 4) ** 2
    exact = [np.average(e, weights=w) / 4, np.average(square, weights=w)]
    means(sampled(1, (2, 2), temperature=t, coupling=coupling), exact)


def test_ring():
    """Nine spins in a ring, Z = Σ_k I_k(β)^N; each is bonded to itself, at -1."""
    n, beta = 9, 1 / 0.8
    k = np.arange(-40, 41)
    terms = ive(k, beta) ** n
    slope = (ive(k - 1, beta) + ive(k + 1, beta)) / (2 * ive(k, beta))
    u = -np.sum(terms * slope) / terms.sum() - 1
    r = np.arange(n)[:, None]
    pairs = np.sum(ive(k, beta) ** (n - r) * ive(k + 1, beta) ** r, 1) / terms.sum()
    means(sampled(2, (1, n), temperature=0.8), [u, pairs.mean()])


def test_overrelaxation():
    """It keeps the energy, mirrors at the field, and can be undone."""
    angles = xy.init(jax.random.key(0), shape=(3, 4, 6))
    new = xy.overrelax(angles)
    np.testing.assert_allclose(xy.energy(new), xy.energy(angles), atol=1e-6)
    assert (abs(np.asarray(new)) <= math.pi + 1e-6).all()
    assert abs(np.asarray(new - angles)).min() > 1e-4
    # The first colour sees the old neighbours.
    s = np.exp(1j * np.asarray(angles, float))
    field = sum(np.roll(s, d, a) for d in (1, -1) for a in (1, 2))
    mirrored = field / field.conj() * s.conj()
    first = np.add.outer(np.arange(4), np.arange(6)) % 2 == 0
    np.testing.assert_allclose(
        np.exp(1j * new)[:, first], mirrored[:, first], atol=1e-5
    )
    # Moved by one column the other colour goes first, which undoes the sweep.
    back = jnp.roll(xy.overrelax(jnp.roll(new, 1, -1)), -1, -1)
    np.testing.assert_allclose(np.exp(1j * back), np.exp(1j * angles), atol=1e-4)


def test_steps_change_what_they_may():
    """A cluster step mirrors spins at one line for each lattice."""
    angles = xy.init(jax.random.key(3), shape=(2, 8, 8))
    new = xy.swendsen_wang(jax.random.key(4), angles, temperature=0.5)
    moved = abs(np.asarray(new - angles)) > 1e-5
    for i in range(2):
        sums = np.exp(1j * np.asarray(new + angles)[i][moved[i]].astype(float))
        assert 0 < moved[i].sum() < 64
        np.testing.assert_allclose(sums, sums[0], atol=1e-5)
    cold = xy.swendsen_wang(jax.random.key(5), angles * 0 + 1, temperature=0.0)
    np.testing.assert_allclose(xy.energy(cold), -2, atol=1e-6)


def test_vortices():
    """One of each sign where they were put, and none among parallel spins."""
    rows, columns = np.mgrid[0:16, 0:16] + 0.0
    angles = np.arctan2(rows - 4.5, columns - 5.5)
    angles -= np.arctan2(rows - 11.5, columns - 5.5)
    n = np.asarray(xy.vortices(angles[None]))[0]
    assert abs(n[4, 5]) == 1
    assert n[11, 5] == -n[4, 5]
    assert n.sum() == 0
    inner = n[2:14, 2:14].copy()  # the seam of the periodic lattice may hold others
    inner[2, 3] = inner[9, 3] = 0
    assert (inner == 0).all()
    # Seen from above the angle turns by 2π around a vortex, from columns to rows.
    alone = np.arctan2(rows[:2, :2] - 0.5, columns[:2, :2] - 0.5)
    assert xy.vortices(np.pad(alone, (0, 2), mode="edge"))[0, 0] == 1
    assert (xy.vortices(np.full((4, 4), 3.0)) == 0).all()
    assert np.isnan(xy.vortices(np.full((4, 4), np.nan))).all()


def test_stiffness(x64):
    """The second derivative of the free energy in a twist; J for parallel spins."""
    assert xy.stiffness(np.zeros((3, 4, 4)), temperature=0.1, coupling=2.0) == 2
    rng = np.random.default_rng(0)
    angles, t = rng.normal(size=(500, 2, 3)), 0.7

    def twisted(amount):
        """-T ln ⟨e^(-ΔE/T)⟩ / N if each bond to the next column is turned by amount."""
        d = np.roll(angles, -1, 2) - angles
        change = -(np.cos(d + amount) - np.cos(d)).sum((1, 2))
        other = -(np.cos(d - amount) - np.cos(d)).sum((1, 2))
        both = np.exp(-change / t) + np.exp(-other / t)  # the ensemble and its mirror
        return -t * np.log(both.mean() / 2) / 6

    h = 1e-3
    right = (twisted(h) - 2 * twisted(0) + twisted(-h)) / h**2
    swapped = np.swapaxes(angles, 1, 2)
    whole = xy.stiffness(angles, temperature=t)
    np.testing.assert_allclose(whole, xy.stiffness(swapped, temperature=t), rtol=1e-12)
    d = np.roll(angles, -1, 1) - angles
    down = np.cos(d).mean() - (np.sin(d).sum((1, 2)) ** 2).mean() / (6 * t)
    np.testing.assert_allclose(whole, (right + down) / 2, rtol=1e-5)


def test_same_key_same_bits():
    """Ten runs give one answer."""
    start = xy.init(jax.random.key(0), shape=(2, 6, 6))

    def run():
        last = xy.sample(jax.random.key(1), start, temperature=0.9, sweeps=20)
        return b"".join(np.asarray(a).tobytes() for a in last if a is not None)

    assert len({run() for _ in range(10)}) == 1


@pytest.mark.long
def test_stiffness_jumps():
    """Below T = 0.89 the lattice is stiff; above it is not, and has vortices."""
    start = jnp.zeros((32, 16, 16))
    found = {}
    for t in (0.6, 1.3):
        run = xy.sample(jax.random.key(2), start, temperature=t, sweeps=600, every=20)
        kept = run.kept[5:].reshape(-1, 16, 16)
        density = np.mean(abs(np.asarray(xy.vortices(kept))))
        found[t] = float(xy.stiffness(kept, temperature=t)), float(density)
    print(found)
    assert found[0.6][0] > 2 * 0.6 / math.pi
    assert abs(found[1.3][0]) < 0.1
    assert found[0.6][1] < 0.01 < found[1.3][1]


def test_bad_input():
    key, angles = jax.random.key(0), np.zeros((4, 4))
    with pytest.raises(ValueError, match=r"^angles has 3 x 4 sites: a checkerboard"):
        xy.overrelax(angles[:3])
    for step in (xy.energy, xy.magnetisation, xy.vortices, xy.overrelax):
        with pytest.raises(ValueError, match=r"^angles has shape \(4,\)"):
            step(angles[0])
    with pytest.raises(ValueError, match=r"^every must divide sweeps"):
        xy.sample(key, angles, temperature=1.0, sweeps=3, every=2)
    run = jax.jit(lambda t, j: xy.swendsen_wang(key, angles, temperature=t, coupling=j))
    assert np.isfinite(run(1.0, 1.0)).all()
    for t, j in ((-1.0, 1.0), (jnp.nan, 1.0), (1.0, jnp.inf)):
        assert np.isnan(run(t, j)).all()
