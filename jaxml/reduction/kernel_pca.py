"""Kernel PCA: principal components in the space of a kernel, φ(x), for curved data.

There Σ = Σ pᵢ φ̃ᵢ φ̃ᵢᵀ, p = w / Σw and φ̃ = φ - Σ pᵢ φᵢ. Its eigenvectors are sums of the
φ̃ᵢ, so that an (m, m) matrix of kernels has all of them.
"""

from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._rows import product
from jaxml.optimize.fit import UNRECORDED, Fit, Status
from jaxml.reduction._eigen import Pairs, leading
from jaxml.regression import kernels


class Params(NamedTuple):
    """Directions in the space of a kernel, by the rows that span them."""

    x: Annotated[jax.Array, "rows n"]  # rows
    share: Annotated[jax.Array, "rows"]  # p, the part that each has in the mean
    centre: Annotated[jax.Array, "rows"]  # Σⱼ pⱼ k(xᵢ, xⱼ) - Σⱼₗ pⱼ pₗ k(xⱼ, xₗ)
    alpha: Annotated[jax.Array, "rows k"]  # a direction is Σᵢ αᵢ φ̃ᵢ
    variances: Annotated[jax.Array, "k"]  # along each, falling
    total: Annotated[jax.Array, ""]  # tr Σ, along all


@_check.pure(static=("kernel", "degree"), x="r n")
def transform(
    params: Params,
    x: jax.Array,
    *,
    kernel: kernels.Kernel = "rbf",
    gamma: Any = 1.0,
    offset: Any = 1.0,
    degree: int = 3,
) -> jax.Array:
    """z_j = Σᵢ αᵢⱼ φ̃ᵢ·φ̃(x), (r, k), for the rows of x, (r, n), fitted or new.

    params as `fit` gives them; kernel, gamma, offset and degree must be those of the
    fit. Raises ValueError if params are for another number of columns.
    """
    rows = (params.x, "m n"), (params.alpha, "m k")
    names = dict(zip(("params.x", "params.alpha"), rows, strict=True))
    _check.shapes(x=(x, "r n"), **names)
    function = partial(kernels.matrix, kernel=kernel, degree=degree)
    between = function(x, params.x, gamma=gamma, offset=offset)
    middle = product(between, params.share)
    return product(between - middle[:, None] - params.centre[None], params.alpha)


@_check.fit(static=("k", "kernel", "degree"), x="m n", weights="m")
def fit(
    x: jax.Array,
    *,
    k: int,
    weights: jax.Array | None = None,
    kernel: kernels.Kernel = "rbf",
    gamma: Any = 1.0,
    offset: Any = 1.0,
    degree: int = 3,
) -> Fit:
    """Minimise tr Σ - Σ S: P^½ K̃ P^½ = Q S Qᵀ and α = P^½ Q S^-½, k columns kept.

    K̃ᵢⱼ = φ̃ᵢ·φ̃ⱼ and P = diag p. With the linear kernel it is `pca.fit`.

    Args:
        x: (m, n) rows.
        k: how many directions, below m.
        weights: (m,) weights w of the rows; 1 if None.
        kernel: a name in kernels.KERNELS, or a function of two sets of rows, static.
        gamma: () the kernel's γ, as in kernels.matrix.
        offset: () its c.
        degree: its degree.

    Returns:
        Fit with Params. cost is tr Σ - Σ S and residual the largest |Σ v - S v| / S₁. A
        direction of variance 0 has α and z NaN or infinite, and status SINGULAR.
        The largest entry of each column of P^-½ α is positive. Derivatives as in
        `pca.fit`.

    Raises:
        ValueError: k that is not below m, an unknown kernel, values out of range.

    Source: Schölkopf, Smola and Müller (1998).

    """
    m = len(x)
    if k >= m:
        raise ValueError(f"k must be below m = {m}, not {k}")
    function = partial(kernels.matrix, kernel=kernel, degree=degree)
    gram = function(x, x, gamma=gamma, offset=offset)
    w = jnp.ones_like(x[:, 0]) if weights is None else weights
    share = w / jnp.sum(w)
    middle = product(gram, share)
    centre = middle - jnp.vdot(share, middle)
    inner = gram - middle[:, None] - centre[None]
    some = share > 0  # the root has no derivative at 0
    root = jnp.where(some, jnp.sqrt(jnp.where(some, share, 1)), share)
    matrix = root[:, None] * inner * root[None]
    pairs = leading((matrix + matrix.T) / 2, k)
    residual, status = _judged(*jax.lax.stop_gradient((matrix, pairs)))
    valid = jnp.where(status == Status.CONVERGED, 1, jnp.nan).astype(x.dtype)
    pairs = Pairs(*[_derived(leaf, valid) for leaf in pairs])
    alpha = root[:, None] * pairs.u / jnp.sqrt(pairs.values)[None]
    total = jnp.trace(matrix)
    params = Params(x, share, centre, alpha, pairs.values, total)
    none = jnp.full(1, UNRECORDED, x.dtype)
    cost = total - jnp.sum(pairs.values)
    return Fit(params, cost, residual, jnp.int32(0), status, none)


def _judged(matrix: jax.Array, pairs: Pairs) -> tuple[jax.Array, jax.Array]:
    values, u = pairs
    error = product(matrix, u) - u * values[None]
    residual = jnp.sqrt(jnp.max(jnp.sum(error**2, axis=0))) / values[0]
    rounding = len(u) * float(jnp.finfo(u.dtype).eps) * values[0]
    status = jnp.where(values[-1] > rounding, Status.CONVERGED, Status.SINGULAR)
    status = jnp.where(jnp.isfinite(residual), status, Status.NONFINITE)
    constant = values[0] == 0
    status = jnp.where(constant, Status.SINGULAR, status).astype(jnp.int32)
    return residual, status


@jax.custom_jvp
def _derived(value, valid):
    """The value, its derivative times valid."""
    return value


@_derived.defjvp
def _derived_jvp(primals, tangents):
    return primals[0], tangents[0] * primals[1]
