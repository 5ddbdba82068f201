"""Kernel PCA: principal components in the space of a kernel, φ(x), for curved data.

There Σ = Σ pᵢ φ̃ᵢ φ̃ᵢᵀ, p = w / Σw and φ̃ = φ - Σ pᵢ φᵢ. Its eigenvectors are sums of the
φ̃ᵢ, so that an (m, m) matrix of kernels has all of them. Few of many are iterated for.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, NonNegative, Rows, Scalar, Static, Weights
from jaxml._rows import each
from jaxml._units import weights_or_ones
from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._implicit import derived, where_valid
from jaxml.reduction._eigen import Pairs, iterated, leading, left_over, misfit
from jaxml.regression import kernels

__all__ = ["Params", "fit", "transform"]

LARGE = 16_384  # rows from which the matrix of kernels, 1 GiB then, is not kept
ENTRIES = 2**26  # of that matrix at a time
PRECISION = 30  # residual up to which a fit is right, times √m ε


@_check.params
class Params:
    """Directions in the space of a kernel, by the rows that span them."""

    x: Annotated[jax.Array, "rows n"]  # rows
    share: Annotated[jax.Array, "rows"]  # p, the part that each has in the mean
    centre: Annotated[jax.Array, "rows"]  # Σⱼ pⱼ k(xᵢ, xⱼ) - Σⱼₗ pⱼ pₗ k(xⱼ, xₗ)
    alpha: Annotated[jax.Array, "rows k"]  # a direction is Σᵢ αᵢ φ̃ᵢ
    variances: Annotated[jax.Array, "k"]  # along each, falling
    total: Annotated[jax.Array, ""]  # tr Σ, along all
    gamma: Annotated[jax.Array, ""]  # γ of the kernel
    offset: Annotated[jax.Array, ""]  # c of the kernel
    kernel: Static[kernels.Kernel] = "rbf"  # as in kernels.matrix


@_check.pure
def transform(params: Params, x: Annotated[Array, "r n"]) -> jax.Array:
    """z_j = Σᵢ αᵢⱼ φ̃ᵢ·φ̃(x), (r, k), for the rows of x, (r, n), fitted or new.

    params as `fit` gives them. Raises ValueError if they are for another number of
    columns.
    """
    options: Any = {"gamma": params.gamma, "offset": params.offset}
    shift = _origin(params.x, params.share, params.kernel)

    def block(x):
        fitted = params.x - shift
        between = kernels.matrix(x - shift, fitted, kernel=params.kernel, **options)
        middle = between @ params.share
        return (between - middle[:, None] - params.centre[None]) @ params.alpha

    return each(block, x)


def _origin(x, share, kernel):
    """A point, (1, n), from which rows are measured: inner products far away lose φ̃."""
    if kernel == "linear":
        return share[None] @ x
    return jnp.zeros_like(x[:1])


@_check.fit
def fit(
    x: Rows,
    *,
    k: Count,
    weights: Weights | None = None,
    kernel: Static[kernels.Kernel] = "rbf",
    gamma: NonNegative = 1.0,
    offset: Scalar = 1.0,
) -> Fit:
    """Minimise tr Σ - Σ S: P^½ K̃ P^½ = Q S Qᵀ and α = P^½ Q S^-½, k columns kept.

    K̃ᵢⱼ = φ̃ᵢ·φ̃ⱼ and P = diag p. With the linear kernel it is `pca.fit`.

    Args:
        x: (m, n) rows.
        k: how many directions, below m.
        weights: (m,) weights w of the rows; 1 if None.
        kernel: a name in kernels.KERNELS, or a function of two sets of rows, as
            kernels.matrix takes it.
        gamma: () the kernel's γ, as in kernels.matrix.
        offset: () its c.

    Returns:
        Fit with Params. cost is tr Σ - Σ S and residual the largest |Σ v - S v| / S₁,
        within 30 √m ε (ε = 1e-7 for float32). A direction of variance 0 has α and z NaN
        or infinite, and status SINGULAR. The largest entry of each column of P^-½ α is
        positive. Derivatives as in `pca.fit`.

        Up to 16,384 rows K̃ is formed; few directions of many are iterated for, all
        others decomposed, which takes O(m³). For more rows K̃ is made anew, in blocks of
        rows, for each product with it: memory grows with m, time with m². Then status
        EXHAUSTED tells of variances that fall too slowly for it, and derivatives are
        NaN.

    Raises:
        ValueError: k that is not below m, an unknown kernel, values out of range.

    Source: Schölkopf, Smola and Müller (1998).

    """
    m = len(x)
    if k >= m:
        raise ValueError(f"k must be below m = {m}, not {k}")
    w = weights_or_ones(weights, x)
    share = w / jnp.sum(w)
    some = share > 0  # the root has no derivative at 0
    root = jnp.where(some, jnp.sqrt(jnp.where(some, share, 1)), share)
    rows = x - _origin(x, share, kernel)
    decompose = _by_matrix if m <= LARGE else _by_blocks
    result = decompose(rows, share, root, gamma, offset, k=k, kernel=kernel)
    pairs, total, centre, product = result
    residual, status = _status(*jax.lax.stop_gradient((pairs, product)))
    pairs = where_valid(status == Status.CONVERGED, pairs)
    alpha = root[:, None] * pairs.u / jnp.sqrt(pairs.values)[None]
    gamma, offset = (jnp.asarray(value, x.dtype) for value in (gamma, offset))
    params = Params(x, share, centre, alpha, pairs.values, total, gamma, offset, kernel)
    return Fit.closed(params, left_over(total, pairs.values), residual, status)


def _by_matrix(x, share, root, gamma, offset, *, k, kernel):
    """Pairs, tr Σ, centre and Σ u from the matrix of kernels."""
    gram = kernels.matrix(x, x, kernel=kernel, gamma=gamma, offset=offset)
    middle = gram @ share
    centre = middle - jnp.vdot(share, middle)
    inner = gram - middle[:, None] - centre[None]
    matrix = root[:, None] * inner * root[None]
    pairs = leading((matrix + matrix.T) / 2, k)
    return pairs, jnp.trace(matrix), centre, matrix @ pairs.u


def _by_blocks(*arguments, **options):
    """The same without the matrix, its derivatives NaN.

    That of a direction takes all others, and so the matrix.
    """
    result = _iterated(*jax.lax.stop_gradient(arguments), **options)
    change = sum(jnp.sum(argument) for argument in arguments)
    of = lambda result, change: jax.tree.map(lambda leaf: leaf + change, result)
    return derived(of, result, False, result, change)


def _iterated(x, share, root, gamma, offset, *, k, kernel):
    """By products with the matrix, for each of which rows of it are made."""
    options: Any = {"kernel": kernel, "gamma": gamma, "offset": offset}
    m = len(x)
    size = max(1, ENTRIES // m)
    blocks = jnp.pad(x, ((0, -m % size), (0, 0))).reshape(-1, size, x.shape[1])

    def gram(v):
        result = jax.lax.map(
            lambda rows: kernels.matrix(rows, x, **options) @ v, blocks
        )
        return result.reshape(-1, v.shape[1])[:m]

    middle = gram(share[:, None])[:, 0]
    centre = middle - jnp.vdot(share, middle)

    def times(v):
        v = root[:, None] * v
        inner = gram(v) - middle[:, None] * jnp.sum(v, axis=0, keepdims=True)
        return root[:, None] * (inner - centre[None] @ v)

    diagonal = kernels.diagonal(x, **options) - middle - centre
    pairs, _ = iterated(times, m, k, x.dtype)
    return pairs, jnp.vdot(share, diagonal), centre, times(pairs.u)


def _status(pairs: Pairs, product: jax.Array) -> tuple[jax.Array, jax.Array]:
    values, u = pairs
    residual, m, eps = misfit(pairs, product), len(u), float(jnp.finfo(u.dtype).eps)
    right = residual <= PRECISION * m**0.5 * eps
    status = jnp.where(right, Status.CONVERGED, Status.EXHAUSTED)
    status = jnp.where(values[-1] > m * eps * values[0], status, Status.SINGULAR)
    status = jnp.where(jnp.isfinite(residual), status, Status.NONFINITE)
    return residual, status.astype(jnp.int32)
