"""Distances between rows: formed here, so that all keep their digits.

|a|² + |b|² - 2 a·b is the fastest way to the squares, for it is a matrix product, but
rounds them by ε (|a|² + |b|²): of rows that are nearer to each other than to where the
squares are taken from, it leaves nothing. Differences are exact there. They cost about
as much up to NARROW columns; of more, they are taken only where some pair needs them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero

from jaxml import _check
from jaxml._units import unit_of

NARROW = 8  # columns up to which differences cost no more than a product
FEW = 32  # rows that are looked at closely at a time
NEAR = 2.0**-10  # of |a|² + |b|²: above it a product leaves 14 bits or more in float32


def squared(
    a: jax.Array,
    b: jax.Array,
    *,
    own: jax.Array | None = None,
    coarse: jax.Array | None = None,
) -> jax.Array:
    """‖aᵢ - bⱼ‖², (p, q), of rows a, (p, n), and b, (q, n): right to 4 digits at worst.

    0 for equal rows, and never below. With derivatives of any order, which are those of
    the formula where rows coincide as well. For x against itself pass the place of each
    row of a among those of b as own, (p,) integers: that such a pair is at 0 is then
    known, and is no reason to look closer. Where an error of ε coarse is of no account,
    () in the unit of the squares, rows no longer than that are left to the product. No
    array is larger than the answer; under vmap one pair that is near is reason enough
    for all.
    """
    return _squared(a, b, own, coarse)


def euclidean(a: jax.Array, b: jax.Array, *, own: jax.Array | None = None) -> jax.Array:
    """‖aᵢ - bⱼ‖, (p, q), of rows a, (p, n), and b, (q, n), of any size.

    As the root of `squared`, but no square under- or overflows that the largest entry
    does not drown. The derivative at 0 is 0.
    """
    size = jnp.maximum(unit_of(a), unit_of(b))
    squares = squared(a / size, b / size, own=own)
    return size * root(squares)


def root(squares: jax.Array) -> jax.Array:
    """√squares, with derivative 0 at 0."""
    apart = squares != 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1)), 0)


@jax.custom_jvp
def _squared(a, b, own, coarse):
    if a.shape[1] <= NARROW:
        return differences(a, b)
    parts = _parts(a, b)
    size = parts.a2[:, None] + parts.b2[None]
    result = jnp.maximum(size - 2 * (parts.a @ parts.b.T), 0)
    if coarse is not None:  # rows no longer than that have no size that would count
        long = ~(jnp.max(parts.a2) + jnp.max(parts.b2) <= coarse)
        size = jnp.where(long, size, 0)
    return _refined(a, lambda: b, result, size, own)


@_check.precise
def _squared_jvp(primals, tangents):
    """By products: a derivative is linear in the rows, and loses few of its digits."""
    a, b = primals[:2]
    parts, result = _parts(a, b), _squared(*primals)
    moved = jnp.zeros_like(result)
    da, db = (None if type(t) is SymbolicZero else t for t in tangents[:2])
    if da is not None:
        moved += 2 * (jnp.sum(parts.a * da, 1)[:, None] - da @ parts.b.T)
    if db is not None:
        moved += 2 * (jnp.sum(parts.b * db, 1)[None] - parts.a @ db.T)
    return result, moved


_squared.defjvp(_squared_jvp, symbolic_zeros=True)


class _Parts(NamedTuple):
    """Rows about a point in their midst, and their squares."""

    a: jax.Array  # (p, n)
    b: jax.Array  # (q, n)
    a2: jax.Array  # (p,) |a|²
    b2: jax.Array  # (q,) |b|²


def _parts(a, b) -> _Parts:
    origin = jax.lax.stop_gradient(jnp.mean(b, axis=0, keepdims=True))
    a, b = a - origin, b - origin
    return _Parts(a, b, jnp.sum(a * a, axis=1), jnp.sum(b * b, axis=1))


def _refined(a, b, squares, size, own=None):
    """The squares, (p, q), that a product gave; of rows where it can't, by differences.

    size, (p, q), is what they were rounded by, in units of ε. b() gives b, where it is
    needed; own as in `squared`.
    """
    unsure = ~(squares >= NEAR * size)  # NaN, where squares overflow, is unsure too
    if own is not None:
        number = jnp.arange(squares.shape[1], dtype=own.dtype)
        itself = own[:, None] == number[None]
        unsure &= ~itself
        squares = jnp.where(itself, 0, squares)

    def closer():
        columns = _columns(b())
        some = lambda a: _added(_columns(a), columns)
        return replaced(squares, some, jnp.any(unsure, axis=1), a)

    return jax.lax.cond(anywhere(unsure), closer, lambda: squares)


def replaced(result, function, where, rows):
    """The result, (m, …) arrays, with function(rows) where that is set, by a few rows.

    Each of several devices sees to rows of its own.
    """
    m, devices = len(rows), jax.device_count()
    if devices > 1 and m % devices == 0:
        part = lambda a: a.reshape(devices, -1, *a.shape[1:])
        whole = lambda a: a.reshape(m, *a.shape[2:])
        own = lambda result, where, rows: _replaced(result, function, where, rows)
        shares = jax.tree.map(part, (result, where, rows))
        return jax.tree.map(whole, jax.vmap(own)(*shares))
    return _replaced(result, function, where, rows)


def _replaced(result, function, where, rows):
    m = len(rows)
    few = min(m, FEW)
    count = jnp.sum(where, dtype=jnp.int32)
    order = jnp.flatnonzero(where, size=m + -m % few, fill_value=m)

    def some(i, result):
        chosen = jax.lax.dynamic_slice_in_dim(order, i * few, few)
        part = function(rows.at[chosen].get(mode="clip"))
        return jax.tree.map(lambda a, b: a.at[chosen].set(b, mode="drop"), result, part)

    return jax.lax.fori_loop(0, (count + few - 1) // few, some, result)


def differences(a: jax.Array, b: jax.Array) -> jax.Array:
    """Σⱼ (aⱼ - bⱼ)², (p, q), a few columns at a time: slower than a product, but exact.

    Without derivatives in reverse.
    """
    return _added(_columns(a), _columns(b))


def _columns(a):
    """(groups, columns of a group, p), filled with 0, for which nothing is added."""
    n = a.shape[1]
    width = min(n, NARROW)
    return jnp.pad(a, ((0, 0), (0, -n % width))).T.reshape(-1, width, len(a))


def _added(a, b):
    def add(total, columns):
        # Or the slices would be taken anew for every pair.
        one, other = jax.lax.optimization_barrier(columns)
        return total + _few(one, other), None

    first = _few(a[0], b[0])
    return jax.lax.scan(add, first, (a[1:], b[1:]))[0] if len(a) > 1 else first


def _few(a, b):
    return sum((one[:, None] - other[None]) ** 2 for one, other in zip(a, b))


@custom_vmap
def anywhere(flags):
    """Whether any flag is set, in a batch as well: a cond on it remains a cond."""
    return jnp.any(flags)


@anywhere.def_vmap
def _any_of_batch(size, batched, flags):
    return anywhere(flags), False
