"""The penalty in blocks: of one coordinate each, or of a group."""

import jax
import jax.numpy as jnp

from jaxml.optimize import _groups, proximal


def limits(l1, x, penalty_factors, groups) -> jax.Array:
    """l1 f_j, (n,), or l1 c_g of each group, (n,), 0 beyond the last group."""
    n, dtype = x.shape[1], x.dtype
    if groups is not None:
        return l1 * _groups.factors(groups, penalty_factors, dtype)
    return l1 * (jnp.ones(n, dtype) if penalty_factors is None else penalty_factors)


def sizes(v, groups, positive: bool) -> jax.Array:
    """How far v, (n,), reaches in each block: what a limit is compared with."""
    if groups is not None:
        return _groups.norms(v, groups)
    return jax.nn.relu(v) if positive else jnp.abs(v)


def prox(w, step, limits, groups, positive: bool) -> jax.Array:
    """The proximal operator of Σ limits · |w of a block|."""
    if groups is not None:
        length = _groups.norms(w, groups)
        safe = jnp.where(length == 0, 1, length)
        kept = jnp.where(length > step * limits, 1 - step * limits / safe, 0 * limits)
        return w * kept[groups]
    if positive:
        return proximal.nonnegative_prox(w, step, l1=1.0, factors=limits)
    return proximal.l1_prox(w, step, l1=1.0, factors=limits)


def value(w, limits, groups) -> jax.Array:
    """Σ limits · |w of a block|."""
    return jnp.vdot(limits, sizes(w, groups, False))


def violations(pull, w, limits, groups, positive: bool) -> jax.Array:
    """By how much each block, (n,), violates the conditions of a minimum, as l1 counts.

    pull, (n,), is minus the gradient of all but the penalty. A block at 0 holds a pull
    up to its limit; elsewhere the pull is the limit, along w.
    """
    length = sizes(w, groups, False)
    if groups is None:
        against = jnp.abs(pull - limits * jnp.sign(w))
    else:
        safe = jnp.where(length == 0, 1, length)
        against = _groups.norms(pull - (limits / safe)[groups] * w, groups)
    over = jax.nn.relu(sizes(pull, groups, positive) - limits)
    result = jnp.where(length == 0, over, against)
    return jnp.where(w < 0, jnp.inf, result) if positive else result


def gap(w, left, own, limits, l2, groups, positive: bool) -> jax.Array:
    """½ |r|² + ½ l2 |w|² + Σ limits |w| less a lower bound of its minimum, ().

    left, (n,), are the products of the columns with the residual r, own, (), is |r|².
    The bound is the dual at s r, s such that no pull is above its limit; J - D is
    Σ (limits |w| - s w·pull) + ½ (1 - s)² (|r|² + l2 |w|²), which cancels nothing.
    Where l2 > 0 the dual that lets pulls be longer is another, and the better counts.
    A limit of 0 with l2 = 0 has no such bound: its w counts as if at its best.
    """
    shrunk = left - l2 * w
    reach = sizes(shrunk, groups, positive)
    binding = (reach > 0) & (limits > 0)
    room = jnp.where(binding, limits / jnp.where(binding, reach, 1), jnp.inf)
    paid = value(w, limits, groups)
    held = limits > 0 if groups is None else (limits > 0)[groups]
    along = jnp.vdot(jnp.where(held, w, 0), shrunk)
    length = own + l2 * jnp.vdot(w, w)
    best = 1 + along / jnp.where(length > 0, length, 1)
    s = jnp.clip(best, 0, jnp.min(room))
    hard = paid - s * along + 0.5 * (1 - s) ** 2 * length
    over = jax.nn.relu(sizes(left, groups, positive) - limits)
    some = l2 > 0
    soft = paid - jnp.vdot(w, left) + 0.5 * l2 * jnp.vdot(w, w)
    soft += jnp.sum(over**2) / (2 * jnp.where(some, l2, 1))
    result = jnp.where(some, jnp.minimum(hard, soft), hard)
    result = jnp.maximum(result, 0)  # rounding
    return jnp.where((w < 0).any(), jnp.inf, result) if positive else result


def free(w, left, limits, l2, groups, positive: bool):
    """Which w, (n,), no penalty holds, and their pulls, 0 elsewhere."""
    held = limits > 0 if groups is None else (limits > 0)[groups]
    loose = ~held & (l2 == 0)
    if positive:
        loose &= (w > 0) | (left > 0)
    return loose, jnp.where(loose, left, 0)
