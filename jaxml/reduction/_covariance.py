"""The covariance of rows: as a matrix, or by its products with a few vectors."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxml._rows import mean, mirrored, total, triangle, with_ones

LARGE = 4096  # columns from which no (n, n) matrix is formed for products alone


class Covariance(NamedTuple):
    """Where rows lie and how they spread."""

    mean: jax.Array  # (n,) μ = Σ wᵢ xᵢ / Σ wᵢ
    matrix: jax.Array  # (n, n) Σ = Σ wᵢ (xᵢ - μ)(xᵢ - μ)ᵀ / Σ wᵢ


class Products(NamedTuple):
    """What an iteration needs of a covariance Σ."""

    mean: jax.Array  # (n,) μ
    trace: jax.Array  # () tr Σ
    times: Callable[[jax.Array], jax.Array]  # (n, l) v -> Σ v


def covariance(x: jax.Array, weights: jax.Array | None) -> Covariance:
    """μ and Σ of the rows of x, (m, n)."""
    centre = mean(x, weights)

    def sums(x, weights):
        x = x - centre[None]
        weighted = x if weights is None else x * weights[:, None]
        return triangle(weighted, with_ones(x))

    weight = len(x) if weights is None else jnp.sum(weights)
    result = mirrored(total(sums, x, weights)) / weight
    square, shift = result[:, :-1], result[:, -1]
    return Covariance(centre + shift, square - jnp.outer(shift, shift))


def centred(x: jax.Array, weights: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """μ, (n,), and y, (m, n), with yᵀy = Σ: the rows √(wᵢ/Σw) (xᵢ - μ)."""
    centre = mean(x, weights)
    y = x - centre[None]
    shift = mean(y, weights)
    y = y - shift[None]
    if weights is None:
        return centre + shift, y / len(y) ** 0.5
    # The root has no derivative at 0, where a row does not count.
    positive = weights > 0
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, weights, 1)), weights)
    return centre + shift, y * (root / jnp.sqrt(jnp.sum(weights)))[:, None]


def products(x: jax.Array, weights: jax.Array | None, uses: int) -> Products:
    """μ, tr Σ and v -> Σ v, for `uses` columns v in all.

    The cheaper of two: Σ is formed, (n, n), or each product passes over the rows.
    """
    m, n = x.shape
    if n <= min(m, uses, LARGE):
        centre, matrix = covariance(x, weights)
        return Products(centre, jnp.trace(matrix), lambda v: matrix @ v)
    centre = mean(x, weights)
    centre += mean(x - centre[None], weights)
    weight = m if weights is None else jnp.sum(weights)

    def squares(x, weights):
        x = x - centre[None]
        return jnp.sum(x * (x if weights is None else weights[:, None] * x))

    def times(v):
        def sums(x, weights):
            x = x - centre[None]
            along = x @ v
            along = along if weights is None else along * weights[:, None]
            return x.T @ along

        return total(sums, x, weights) / weight

    return Products(centre, total(squares, x, weights) / weight, times)
