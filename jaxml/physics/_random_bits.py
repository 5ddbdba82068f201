"""Chance in whole numbers: an event of probability p is 31 random bits below p 2^31.

The smaller of p and 1 - p is rounded, to a multiple of 2^-31, so that rare events keep
their digits, and 0 and 1 are never and always. In float32 a uniform number has 23 bits.
"""

import jax
import jax.numpy as jnp

WHOLE = 1 << 31
SCRAMBLE = 40503  # odd, about 2^16 over the golden ratio: multiples lie most evenly


def limit(rare, likely):
    """L with P(bits < L) = 1 - rare where likely, else rare, which is at most ½."""
    small = jnp.round(rare * float(WHOLE)).astype(jnp.uint32)
    return jnp.where(likely, jnp.uint32(WHOLE) - small, small)


def of_bond(energy, temperature):
    """The limit of p = 1 - e^(-E/T), E and T >= 0; at T = 0 p is 1, or 0 for E = 0."""
    x = jnp.where(energy == 0, 0, energy / temperature)
    none, bond = jnp.exp(-x), -jnp.expm1(-x)
    return limit(jnp.minimum(none, bond), bond > none)


def bits(key, shape):
    """31 random bits for each entry of a shape."""
    return jax.random.bits(key, shape, jnp.uint32) >> 1


def bits_for_two(key, shape):
    """Twice 31 bits for each entry, from one word: words are what a sweep costs.

    Each half of a word is the upper half of one, and scrambled the lower half of the
    other. Both are uniform. An event of one depends on an event of the other only where
    upper halves tie with a limit, and there hardly: probabilities of both change by
    less than 1e-8.
    """
    word = jax.random.bits(key, shape, jnp.uint32)
    high, low = word >> 16, word & 0xFFFF

    def joined(upper, lower):
        return (upper << 15) | (((lower * SCRAMBLE) & 0xFFFF) >> 1)

    return joined(high, low), joined(low, high)
