"""Principal components in closed form, and what is done with them."""

from typing import Annotated

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, Rows, Static, Weights
from jaxml._rows import mean, svd, symmetric
from jaxml.optimize._fit import Fit, Status
from jaxml.reduction._covariance import centred, covariance
from jaxml.reduction._eigen import Pairs, misfit, signed, top
from jaxml.reduction.pca._params import Params as Params
from jaxml.reduction.pca._params import at_most, joined, solved

SOLVERS = ("auto", "eigen", "gram", "svd")
SMALL = 1e7  # m n min(m, n) up to which the rows themselves are decomposed


@_check.pure
def transform(params: Params, x: Rows) -> jax.Array:
    """z = Uᵀ (x - μ), (m, k), for the rows of x, (m, n).

    Raises ValueError if params are for another number of columns.
    """
    return (x - params.mean[None]) @ params.u


@_check.pure
def inverse(params: Params, z: Annotated[Array, "m k"]) -> jax.Array:
    """x = U z + μ, (m, n): the rows that z, (m, k), stand for.

    Raises ValueError if params have another number of directions.
    """
    return z @ params.u.T + params.mean[None]


@_check.pure
def reconstruct(params: Params, x: Rows) -> jax.Array:
    """x_rec = U Uᵀ (x - μ) + μ, (m, n): what k components keep of x, (m, n).

    params as in `transform`. Depends on the projector U Uᵀ alone, so that its
    derivatives through a fit are right where variances coincide.
    """
    return inverse(params, transform(params, x))


@_check.pure
def whiten(params: Params, x: Rows) -> jax.Array:
    """z / √S, (m, k): uncorrelated, and of variance 1 for the rows fitted to.

    params and x, (m, n), as in `transform`. A direction of variance 0 gives NaN or
    infinity. Undone by `inverse(params, jnp.sqrt(params.variances) * whitened)`.
    """
    return transform(params, x) / jnp.sqrt(params.variances)[None]


@_check.pure
def explained_variance_ratio(params: Params) -> jax.Array:
    """Sᵢ / tr Σ, (k,), the share of each of params' directions; NaN if tr Σ is 0."""
    return params.variances / params.total


@_check.pure
def cumulative_explained_variance(params: Params) -> jax.Array:
    """Σ_{i<=j} Sᵢ / tr Σ, (k,): the share that the first j of params' directions keep.

    NaN if tr Σ is 0.
    """
    return jnp.cumsum(params.variances) / params.total


@_check.pure
def cost(params: Params, x: Rows, *, weights: Weights | None = None) -> jax.Array:
    """J = Σ wᵢ |xᵢ - x_rec,ᵢ|² / Σ wᵢ, (): the mean squared error of reconstruction.

    At its minimum it is tr Σ - Σ S, the variance that is not retained.

    Args:
        params: μ and orthonormal U, (n, k).
        x: (m, n) rows.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: shapes that do not values not finite or out of range.

    """
    error = x - reconstruct(params, x)
    if weights is not None:  # what a row of weight 0 holds may have no square
        error = jnp.where(weights[:, None] > 0, error, 0)
    return mean(jnp.sum(error**2, axis=1), weights)


@_check.fit
def fit(
    x: Rows,
    *,
    k: Count,
    weights: Weights | None = None,
    solver: Static[str] = "auto",
) -> Fit:
    """Minimise J of `cost`: Σ = Σ wᵢ (xᵢ - μ)(xᵢ - μ)ᵀ / Σ wᵢ = U S Uᵀ, k columns kept.

    Args:
        x: (m, n) rows. Columns in unlike units are first brought to one scale, as by
            scaling.standardise.
        k: how many directions, at most min(m, n).
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        solver: "eigen": the (n, n) covariance in one pass over the rows, and its
            eigenvectors; "gram": the (m, m) matrix of inner products of rows; "svd":
            the rows themselves; "auto": "svd" for small data, else the smaller matrix.
            A matrix of squares sees variances down to ε S₁, "svd" to ε² S₁: with
            float32 (ε = 1e-7), ask for "svd" where variances below 1e-6 S₁ matter.

    Returns:
        Fit with Params, at steps 0. The largest entry of each direction is positive.
        cost is J and residual the largest |Σ uᵢ - Sᵢ uᵢ| / S₁. scikit-learn divides by
        m - 1: its variances are m/(m - 1) times these; and its noise is a mean over
        min(m, n) - k directions, not n - k. Constant data have variances 0, and
        directions that mean nothing. Where variances underflow (rows of 1e-16 in
        float32) status is SINGULAR, and where they overflow NONFINITE: change the unit.
        Where variances coincide directions can turn among each other; derivatives leave
        such a turn out, so that those of `reconstruct`, distances and all else that
        depends on U Uᵀ are right. They are NaN where S_k coincides with the variance
        after it.

    Raises:
        ValueError: an unknown solver, k above min(m, n), shapes that do not agree,
            values out of range.

    Source: Pearson (1901), Hotelling (1933).

    """
    _check.option("solver", solver, SOLVERS)
    m, n = x.shape
    at_most(k, min(m, n), "min(m, n)")
    if solver == "auto":
        small = m * n * min(m, n) <= SMALL
        solver = "svd" if small else "gram" if m < n else "eigen"
    closed = {"eigen": _eigen, "gram": _gram, "svd": _svd}[solver]
    params, image = closed(*jax.lax.stop_gradient((x, weights)), k)
    residual = misfit(Pairs(params.variances, params.u), image)
    status = jnp.where(jnp.isfinite(residual), Status.CONVERGED, Status.NONFINITE)
    return solved(Fit.closed(params, residual, residual, status), x, weights)


def _eigen(x, weights, k: int):
    """Params, and Σ u, (n, k), from the covariance."""
    centre, matrix = covariance(x, weights)
    values, vectors = jnp.linalg.eigh(matrix)
    pairs = top(values, vectors, k)
    return joined(centre, pairs, _rest(values, k)), matrix @ pairs.u


def _gram(x, weights, k: int):
    """The same from y yᵀ, (m, m), whose eigenvectors q give u = yᵀ q / |yᵀ q|."""
    centre, rows = centred(x, weights)
    values, q = jnp.linalg.eigh(symmetric(rows.T, rows.T))
    pairs = top(values, q, k)
    # Where a value is 0, yᵀ q is rounding: this still makes a direction of it.
    u = signed(jnp.linalg.qr(rows.T @ pairs.u)[0])
    pairs = Pairs(pairs.values, u)
    image = rows.T @ (rows @ u)
    return joined(centre, pairs, _rest(values, k)), image


def _svd(x, weights, k: int):
    """The same from y = Q √S Uᵀ."""
    centre, rows = centred(x, weights)
    _, s, ut = svd(rows)
    pairs = Pairs(s[:k] ** 2, signed(ut[:k].T))
    image = rows.T @ (rows @ pairs.u)
    return joined(centre, pairs, jnp.sum(s[k:] ** 2)), image


def _rest(values, k: int):
    """The sum of all eigenvalues but the k largest; what is below 0 is rounding."""
    return jnp.sum(jnp.maximum(values[: len(values) - k], 0))
