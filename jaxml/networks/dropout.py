"""Dropout and DropConnect: units, or weights, that are left out at random in training.

Of a layer u = Θ [1; v], a = g(u), dropout leaves out units, m ⊙ a with m_j ~ B(keep)
(Hinton et al. 2012), DropConnect weights, (M ⊙ Θ) [1; v] with M_ij ~ B(keep), those of
biases too (Wan et al. 2013). What they learn is an ensemble of 2^|M| networks, whose
mean is approached in three ways: by mean weights, keep Θ; by the moments of u, which is
nearly a Gaussian (`moments`, `expected`); by drawing masks as in training.

Masks of examples are bits: 32 weights in a word, drawn where they are needed, again for
the derivative, so that no array is of the size m × s_(l+1) × s_l.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, Key, Rows, Scalar, Static
from jaxml._distances import root
from jaxml.networks import neuron

__all__ = ["Moments", "dropconnect", "dropout", "expected", "moments"]

MASKS = ("example", "batch", "gaussian")
WORD = 32  # weights in a word
DIGITS = 16  # binary digits of keep, where it is not ½

Theta = Annotated[Array, "p n+1"]
Keep = Annotated[Scalar, "[0, 1]"]


class Moments(NamedTuple):
    """Of u over all masks."""

    mean: jax.Array  # (m, p)
    variance: jax.Array  # (m, p)


@_check.pure(full_precision=False)
def dropout(key: Key, a: Array, *, keep: Keep = 0.5) -> jax.Array:
    """m ⊙ a, m ~ B(keep) for each of a, of any shape, (m, …), drawn with key.

    In prediction a is multiplied by keep, the mean of m.
    """
    return a * jax.random.bernoulli(key, keep, a.shape).astype(a.dtype)


@_check.pure(full_precision=False)
def dropconnect(
    key: Key,
    theta: Theta,
    v: Rows,
    *,
    keep: Keep = 0.5,
    masks: Static[str] = "example",
) -> jax.Array:
    """u = (M ⊙ Θ) [1; v], (m, p), M_ij ~ B(keep), for rows of v, (m, n).

    Args:
        key: () of the masks.
        theta: (p, n + 1) Θ, the biases in column 0.
        v: (m, n) what the layer sees.
        keep: () the probability that a weight is there, to 16 binary digits; masks have
            no derivative by it, as `moments` have.
        masks: "example": one for each row of v, the paper's own; "batch": one for all;
            "gaussian": none, u is drawn from the Gaussian of its `moments`.

    """
    _check.option("masks", masks, MASKS)
    v = _augmented(v)
    if masks == "gaussian":
        mean, variance = _moments(theta, v, keep)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        return mean + root(variance) * noise
    if masks == "batch":
        return v @ _masked(key, keep, theta).T

    @jax.checkpoint  # the mask is drawn again: to keep it takes more than that
    def one(given):
        key, v = given
        return _masked(key, keep, theta) @ v

    return jax.lax.map(one, (jax.random.split(key, len(v)), v))


@_check.pure(full_precision=False)
def moments(theta: Theta, v: Rows, *, keep: Keep = 0.5) -> Moments:
    """Mean keep Θ [1; v] and variance keep (1 - keep) Θ² [1; v²] of u, (m, p) each.

    Exact, over all masks of DropConnect. theta is (p, n + 1), v (m, n), keep ().
    """
    return Moments(*_moments(theta, _augmented(v), keep))


@_check.pure(full_precision=False)
def expected(
    key: Key,
    theta: Theta,
    v: Rows,
    *,
    keep: Keep = 0.5,
    activation: Static[str | neuron.Activation] = "relu",
    samples: Count = 1000,
) -> jax.Array:
    """Mean of g(u) over Gaussian u of the moments of DropConnect, (m, p) (Wan 2013).

    key draws the samples, Z in the paper, one after the other. theta is (p, n + 1), v
    (m, n), keep (); activation is g, as in feedforward.init.
    """
    g = neuron.named(activation).function
    mean, variance = _moments(theta, _augmented(v), keep)
    deviation = root(variance)

    def add(total, key):
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        return total + g(mean + deviation * noise), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(mean), jax.random.split(key, samples))
    return total / samples


def _augmented(v):
    return jnp.concatenate([jnp.ones_like(v[:, :1]), v], axis=1)


def _moments(theta, v, keep):
    return keep * (v @ theta.T), keep * (1 - keep) * (v**2 @ (theta**2).T)


def _masked(key, keep, theta):
    """M ⊙ Θ, (p, q), M from a bit each where keep is ½."""
    p, q = theta.shape
    words = _words(key, keep, (p, -(-q // WORD)))
    places = jnp.arange(WORD, dtype=words.dtype)[None, None]
    bits = (words[:, :, None] >> places) & 1
    return theta * bits.reshape(p, -1)[:, :q].astype(theta.dtype)


def _words(key, keep, shape):
    """Words of 32 bits, each of which is 1 with probability keep.

    Of keep = 0.d₁d₂… in binary digits: a bit that is 1 with probability P becomes one
    of (d + P)/2, as a fair bit r makes it r or P's, if d = 1, or r and P's, if d = 0.
    """

    def fair():
        return jax.random.bits(key, shape, jnp.uint32)

    def biased():
        number = jnp.round(keep * 2**DIGITS).astype(jnp.uint32)

        def digit(i, words):
            r = jax.random.bits(jax.random.fold_in(key, i), shape, jnp.uint32)
            one = (number >> i.astype(jnp.uint32)) & 1
            return jnp.where(one == 1, words | r, words & r)

        words = jax.lax.fori_loop(0, DIGITS, digit, jnp.zeros(shape, jnp.uint32))
        return jnp.where(number >> DIGITS == 1, jnp.uint32(2**32 - 1), words)

    return jax.lax.cond(keep == 0.5, fair, biased)
