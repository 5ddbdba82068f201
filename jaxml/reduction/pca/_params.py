"""Principal components that were found, by whatever way, and their derivatives."""

from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml.optimize._fit import Fit, Status
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
    params = _solution(fit.params, status, x, weights)
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


@jax.custom_jvp
def _solution(params: Params, status, x, weights) -> Params:
    """Params, which are the principal components of x, with derivatives.

    To first order; NaN where status is not CONVERGED. A derivative takes one exact
    decomposition, however params were found.
    """
    return params


@_solution.defjvp
@_check.precise
def _solution_jvp(primals, tangents):
    params, status, x, weights = primals
    pairs = Pairs(params.variances, params.u)

    def statistics(x, weights):
        centre, rows = centred(x, weights)
        return centre, rows.T @ (rows @ pairs.u), jnp.sum(rows**2)

    rows = centred(x, weights)[1]
    m, n = x.shape
    outside = (
        partial(beyond, matrix=rows.T @ rows)
        if n <= m
        else partial(beyond_rows, rows=rows)
    )
    shift, push, spread = jax.jvp(statistics, (x, weights), tangents[2:])[1]
    values, u = moved(pairs, push, outside)
    change = joined(shift, Pairs(values, u), spread - jnp.sum(values))
    # A product, because the transpose of a where would be 0 and not NaN.
    valid = jnp.where(status == Status.CONVERGED, 1, jnp.nan).astype(x.dtype)
    return params, jax.tree.map(lambda t: t * valid, change)
