"""Dropout and DropConnect: all masks enumerated, and masks written out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.networks import dropout
from tests.common.samples import Made

RANDOM = np.random.default_rng(0)
THETA, V = RANDOM.normal(size=(2, 4)), RANDOM.normal(size=(5, 3))
SAMPLES = {
    "a": Made(lambda seed: np.random.default_rng(seed).normal(size=(12, 3))),
    "theta": Made(lambda seed: np.random.default_rng(seed).normal(size=(2, 4))),
    "v": Made(lambda seed: np.random.default_rng(seed).normal(size=(5, 3))),
    "keep": 0.5,
    "samples": 7,
    "masks": "example",
    "activation": "tanh",
}
ROUGH = {"dropconnect": "other masks are drawn at a keep beside ½"}
FREE = ("theta", "v")  # as many units, and rows, as there are
KEYS = jax.random.split(jax.random.key(1), 4000)


@pytest.mark.parametrize("keep", [0.5, 0.3, 1.0, 0.0])
def test_moments_are_those_of_all_masks(keep, x64):
    """Of 2⁸ masks, each with its probability."""
    v = np.c_[np.ones(5), V]
    total = np.zeros((2, 5, 2))
    for bits in itertools.product([0, 1], repeat=8):
        p = np.prod([keep if bit else 1 - keep for bit in bits])
        u = v @ (np.reshape(bits, (2, 4)) * THETA).T
        total += p * np.stack([u, u**2])
    found = dropout.moments(THETA, V, keep=keep)
    np.testing.assert_allclose(found.mean, total[0], atol=1e-12)
    np.testing.assert_allclose(found.variance, total[1] - total[0] ** 2, atol=1e-12)


@pytest.mark.parametrize("masks", ["example", "batch", "gaussian"])
@pytest.mark.parametrize("keep", [0.5, 0.3])
def test_draws_have_the_moments(masks, keep):
    """Within five standard errors, and independent where the masks are."""
    draw = lambda key: dropout.dropconnect(key, THETA, V, keep=keep, masks=masks)
    u = np.asarray(jax.jit(jax.vmap(draw))(KEYS), float)
    mean, variance = dropout.moments(THETA, V, keep=keep)
    error = np.sqrt(np.asarray(variance) / len(KEYS))
    assert (np.abs(u.mean(0) - mean) < 5 * error).all()
    np.testing.assert_allclose(u.var(0, ddof=1), variance, rtol=0.15)
    own = np.corrcoef(u[:, :, 0].T) - np.eye(5)
    assert (np.abs(own).max() < 0.1) == (masks != "batch")
    other = np.corrcoef(u[:, 0, 0], u[:, 0, 1])[0, 1]
    assert abs(other) < 0.1


@pytest.mark.parametrize("keep", [0.5, 0.75, 0.1, 0.0, 1.0])
def test_bits_are_as_likely_as_keep(keep):
    """A weight of 1 shows its mask; 38 columns fill no whole number of words."""
    theta, v = np.ones((300, 38), np.float32), np.eye(37, dtype=np.float32)
    theta[:, 0] = 0
    u = dropout.dropconnect(jax.random.key(0), theta, v, keep=keep, masks="batch")
    u = np.asarray(u, float)
    assert set(np.unique(u)) <= {0, 1}
    assert abs(u.mean() - keep) <= 5 * np.sqrt(keep * (1 - keep) / u.size)


def test_units_are_left_out_whole():
    a = RANDOM.normal(size=(200, 30)).astype(np.float32)
    found = np.asarray(dropout.dropout(jax.random.key(0), a, keep=0.8))
    assert ((found == a) | (found == 0)).all()
    assert abs((found != 0).mean() - 0.8) < 5 * np.sqrt(0.16 / a.size)


@pytest.mark.parametrize("masks", ["example", "batch"])
def test_derivatives_have_the_masks_of_their_values(masks, x64):
    """Δ = Σ_i M_i ⊙ δ_i [1; v_i]ᵀ: u is linear in Θ, and its masks can be asked for."""
    key, delta = jax.random.key(3), RANDOM.normal(size=(5, 2))
    draw = lambda theta, v: dropout.dropconnect(key, theta, v, masks=masks)
    u, back = jax.vjp(draw, THETA, V)
    found = back(delta)
    # M Θ of each example, by one weight at a time.
    units = np.eye(8).reshape(8, 2, 4)
    alone = np.stack([draw(unit * THETA, V) for unit in units])
    np.testing.assert_allclose(alone.sum(0), u, rtol=1e-12)
    slope = np.einsum("kmp,mp->k", alone, delta).reshape(2, 4) / THETA
    np.testing.assert_allclose(found[0], slope, rtol=1e-10)
    moved = RANDOM.normal(size=V.shape)
    tangent = jax.jvp(lambda v: draw(THETA, v), (V,), (moved,))[1]
    np.testing.assert_allclose(np.vdot(found[1], moved), np.vdot(delta, tangent))


def test_no_array_of_all_masks():
    """Of 64 rows and 256 × 256 weights, forward and back: less than a byte a weight."""
    theta, v = jnp.ones((256, 257)), jnp.ones((64, 256))

    def cost(theta):
        return dropout.dropconnect(jax.random.key(0), theta, v).sum()

    compiled = jax.jit(jax.grad(cost)).lower(theta).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 64 * 256 * 256 / 2


def test_expected_activations_are_integrals(x64):
    """Of a linear g the mean itself; of others, by Gauss and Hermite."""
    key = jax.random.key(0)
    mean, variance = (np.asarray(a) for a in dropout.moments(THETA, V, keep=0.5))
    t, w = np.polynomial.hermite_e.hermegauss(60)
    for name, g in (("linear", lambda u: u), ("tanh", np.tanh)):
        u = mean[..., None] + np.sqrt(variance)[..., None] * t
        wanted = (g(u) * w).sum(-1) / np.sqrt(2 * np.pi)
        found = dropout.expected(key, THETA, V, activation=name, samples=20_000)
        spread = np.sqrt((g(u) ** 2 * w).sum(-1) / np.sqrt(2 * np.pi) - wanted**2)
        assert (np.abs(found - wanted) < 5 * spread / np.sqrt(20_000)).all()


def test_bad_input():
    key = jax.random.key(0)
    for call, message in [
        (lambda: dropout.dropconnect(key, THETA, V, masks="all"), "masks must be"),
        (lambda: dropout.dropconnect(key, THETA, V, keep=1.5), "keep must"),
        (lambda: dropout.dropconnect(key, THETA, V[:, :2]), "v has shape|theta has"),
        (lambda: dropout.dropout(key, V, keep=-0.1), "keep must"),
        (lambda: dropout.expected(key, THETA, V, samples=0), "samples must"),
    ]:
        with pytest.raises(ValueError, match=f"^({message})"):
            call()
