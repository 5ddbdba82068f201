"""Principal components of data in parts: what is kept of each can be merged."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Count, Rows, Weights
from jaxml.reduction._covariance import covariance
from jaxml.reduction._eigen import leading, left_over
from jaxml.reduction.pca._params import Params, at_most, joined


class Moments(NamedTuple):
    """All that principal components need to know of rows."""

    # Σ wᵢ, the number of rows where none is weighted
    weight: Annotated[jax.Array, ":sums"]
    mean: Annotated[jax.Array, "n"]  # μ = Σ wᵢ xᵢ / Σ wᵢ
    scatter: Annotated[jax.Array, "n n:sums"]  # Σ wᵢ (xᵢ - μ)(xᵢ - μ)ᵀ


@_check.pure
def moments(x: Rows, *, weights: Weights | None = None) -> Moments:
    """Σ wᵢ, μ and Σ wᵢ (xᵢ - μ)(xᵢ - μ)ᵀ of the rows of x, (m, n): Moments.

    weights, (m,), are 1 if None; here they are numbers of rows, so that parts are
    merged in proportion. Raises ValueError for values not finite or out of range.
    """
    centre, matrix = covariance(x, weights)
    m = jnp.asarray(len(x), x.dtype)
    weight = m if weights is None else jnp.sum(weights)
    return Moments(weight, centre, weight * matrix)


@_check.pure
def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the rows of a and of b together: S = Sₐ + S_b + δ δᵀ mₐ m_b / m.

    δ = μ_b - μₐ. Exact but for rounding, in any order and grouping: fold it over parts,
    or over devices. At least one of a and b must have a weight above 0.

    Source: Chan, Golub and LeVeque (1983).
    """
    weight = a.weight + b.weight
    share = b.weight / weight
    apart = b.mean - a.mean
    between = jnp.outer(apart, apart) * (a.weight * share)
    return Moments(weight, a.mean + share * apart, a.scatter + b.scatter + between)


@_check.pure
def from_moments(moments: Moments, *, k: Count) -> Params:
    """The k leading directions of Σ = scatter / weight: what `pca.fit` finds.

    Args:
        moments: of the rows, as `moments` gives them: mean (n,), scatter (n, n).
        k: how many directions, at most n.

    Returns:
        Params, with derivatives as safe as those of `pca.fit`.

    Raises:
        ValueError: k above n.

    """
    weight, centre, scatter = moments
    n = len(centre)
    at_most(k, n, "n")
    matrix = scatter / weight
    pairs = leading(matrix, k)
    return joined(centre, pairs, left_over(jnp.trace(matrix), pairs.values))
