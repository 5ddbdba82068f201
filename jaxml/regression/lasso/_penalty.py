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
    """The length of v, (n,), in each block: what a limit is compared with."""
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


def violations(descent, w, limits, groups, positive: bool) -> jax.Array:
    """By how much each block, (n,), violates the conditions of a minimum, as l1 counts.

    descent, (n,), is minus the gradient of all but the penalty. At a block that is 0 it
    is at most the limit; elsewhere it is the limit, along w.
    """
    length = sizes(w, groups, False)
    if groups is None:
        violation = jnp.abs(descent - limits * jnp.sign(w))
    else:
        safe = jnp.where(length == 0, 1, length)
        violation = _groups.norms(descent - (limits / safe)[groups] * w, groups)
    over = jax.nn.relu(sizes(descent, groups, positive) - limits)
    result = jnp.where(length == 0, over, violation)
    return jnp.where(w < 0, jnp.inf, result) if positive else result


def gap(w, corr, rr, limits, l2, groups, positive: bool) -> jax.Array:
    """½ |r|² + ½ l2 |w|² + Σ limits |w| less a lower bound of its minimum, ().

    corr, (n,), are the products of the columns with the residual r, rr, (),
    is |r|². The bound is the dual at s r, s such that with c = corr - l2 w no
    s |c| is above its limit; J - D is Σ (limits |w| - s w·c) + ½ (1 - s)² (|r|² + l2
    |w|²), which cancels nothing. Where l2 > 0 the dual that allows for more is another,
    and the better counts.
    A limit of 0 with l2 = 0 has no such bound: its w counts as if at its best.
    """
    descent = corr - l2 * w
    size = sizes(descent, groups, positive)
    binding = (size > 0) & (limits > 0)
    scales = jnp.where(binding, limits / jnp.where(binding, size, 1), jnp.inf)
    penalty = value(w, limits, groups)
    penalised = limits > 0 if groups is None else (limits > 0)[groups]
    along = jnp.vdot(jnp.where(penalised, w, 0), descent)
    length = rr + l2 * jnp.vdot(w, w)
    best = 1 + along / jnp.where(length > 0, length, 1)
    s = jnp.clip(best, 0, jnp.min(scales))
    by_scaling = penalty - s * along + 0.5 * (1 - s) ** 2 * length
    over = jax.nn.relu(sizes(corr, groups, positive) - limits)
    ridge = l2 > 0
    by_ridge = penalty - jnp.vdot(w, corr) + 0.5 * l2 * jnp.vdot(w, w)
    by_ridge += jnp.sum(over**2) / (2 * jnp.where(ridge, l2, 1))
    result = jnp.where(ridge, jnp.minimum(by_scaling, by_ridge), by_scaling)
    result = jnp.maximum(result, 0)  # rounding
    return jnp.where((w < 0).any(), jnp.inf, result) if positive else result


def free(w, corr, limits, l2, groups, positive: bool):
    """Which w, (n,), have no penalty, and their Xᵀr, 0 elsewhere."""
    penalised = limits > 0 if groups is None else (limits > 0)[groups]
    unpenalised = ~penalised & (l2 == 0)
    if positive:
        unpenalised &= (w > 0) | (corr > 0)
    return unpenalised, jnp.where(unpenalised, corr, 0)
