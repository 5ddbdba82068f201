"""Principal components that were found, by whatever way, and their derivatives."""

from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._implicit import derived
from jaxml.reduction._covariance import centred
from jaxml.reduction._eigen import Pairs, beyond, beyond_rows, moved


class Params(NamedTuple):
    """A mean, and the directions along which rows spread most about it."""

    mean: Annotated[jax.Array, "n"]  # μ
    u: Annotated[jax.Array, "n k"]  # principal directions, orthonormal columns
    variances: Annotated[jax.Array, "k"]  # S, the variance along each, falling
    # tr Σ, the variance along all n directions together
    total: Annotated[jax.Array, ""]
    # σ² = (tr Σ - Σ S) / (n - k), along the others; 0 for k = n
    noise: Annotated[jax.Array, ""]


def at_most(k: int, least: int, which: str) -> None:
    """Refuse more directions than there are."""
    if k > least:
        raise ValueError(f"k must be at most {which} = {least}, not {k}")


def joined(mean: jax.Array, pairs: Pairs, rest: jax.Array) -> Params:
    """Params whose other directions have the variance rest, (), together."""
    values, u = pairs
    n, k = u.shape
    noise = rest / (n - k) if n > k else jnp.zeros_like(rest)
    return Params(mean, u, values, jnp.sum(values) + rest, noise)


def solved(fit: Fit, x: jax.Array, weights: jax.Array | None) -> Fit:
    """The fit with Params of x and weights, and with their derivatives.

    SINGULAR where squares of the rows about their mean underflow, and NONFINITE where
    they overflow.
    """
    status = _resolved(*jax.lax.stop_gradient((fit.params, fit.status, x, weights)))
    fit = fit._replace(status=status)
    valid = status == Status.CONVERGED
    params = derived(_components, fit.params, valid, fit.params, x, weights)
    kept = jnp.sum(params.variances)
    n, k = params.u.shape
    # Its value keeps the digits that the difference loses.
    rest = params.total - kept
    cost = rest + jax.lax.stop_gradient(fit.params.noise * (n - k) - rest)
    return fit._replace(params=params, cost=cost)


def _resolved(params: Params, status, x, weights):
    """The status, but for variances that cancel catastrophically."""
    info = jnp.finfo(x.dtype)

    def differ():
        y = jnp.abs(x - params.mean[None])
        y = y if weights is None else jnp.where(weights[:, None] > 0, y, 0)
        return jnp.max(y - 4 * float(info.eps) * jnp.abs(params.mean)[None]) > 0

    small = params.variances[0] < float(info.tiny) / float(info.eps)
    lost = jax.lax.cond(small, differ, lambda: jnp.bool_(False))
    status = jnp.where(lost, jnp.maximum(status, Status.SINGULAR), status)
    return jnp.where(jnp.isfinite(params.total), status, Status.NONFINITE)


def _components(params: Params, x, weights) -> Params:
    """What moves with the data as the principal components do, whatever its value.

    That takes one exact decomposition, however params were found.
    """
    params, fixed = jax.lax.stop_gradient((params, centred(x, weights)[1]))
    pairs, (m, n) = Pairs(params.variances, params.u), x.shape
    if n <= m:
        outside = partial(beyond, matrix=fixed.T @ fixed)
    else:
        outside = partial(beyond_rows, rows=fixed)
    mean, rows = centred(x, weights)
    change = moved(pairs, rows.T @ (rows @ pairs.u), outside)
    return joined(mean, change, jnp.sum(rows**2) - jnp.sum(change.values))
