"""The support of a distribution: a plane that parts most rows from the origin.

In the space of a kernel, f(x) = w·φ(x) + b is at least 0 for all but a share ν of the
rows; where it is negative, x is unlike them. w = Σ αᵢ φ(xᵢ), 0 ≤ αᵢ ≤ wᵢ/(ν Σw) and
Σ αᵢ = 1. LIBSVM's α, b and f are ν Σw times these.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax import lax

from jaxml import _check
from jaxml._check import Count, NonNegative, Rows, Scalar, Static, Weights
from jaxml.optimize._fit import Fit
from jaxml.regression import kernels
from jaxml.regression.svm import _dual, _expansion, _smo
from jaxml.regression.svm._expansion import Params as Params

__all__ = ["Params", "cost", "duality_gap", "fit", "kkt_residual", "predict", "scores"]

Kernel = kernels.Kernel  # or "precomputed"
ROUNDINGS = 16  # of the scores, by which b is moved outwards


@_check.fit
def fit(
    x: Rows,
    *,
    nu: Annotated[Scalar, "(0, 1]"] = 0.5,
    kernel: Static[Kernel] = "rbf",
    gamma: NonNegative | None = None,
    offset: Scalar = 1.0,
    weights: Weights | None = None,
    solver: Static[str | None] = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 500,
) -> Fit:
    """J = Σ wᵢ max(0, -f(xᵢ)) / (ν Σ wᵢ) + ½ ‖w‖² + b, minimised via its dual.

    Args:
        x: (m, n) rows; for kernel="precomputed" the matrix K, (m, m).
        nu: () ν, in (0, 1]: at most this share of the rows has f < 0, and at least this
            share is in the support. Rows on the edge count as inside: b is the least
            for which they do, and larger by a few roundings.
        kernel: as in kernel.fit.
        gamma: () γ of the kernel; None for kernels.scale_gamma, 1/(n var x).
        offset: () c of polynomial and sigmoid; coef0, 0 by default, in LIBSVM.
        weights: (m,) weights w; 1 if None.
        solver: as in kernel.fit.
        tol: () largest duality gap over ½ ‖w‖², the size of the least cost, from
            which it is then away by no more than this share; for rounding as in
            kernel.fit.
        max_iter: the most rounds, as in kernel.fit.

    Returns:
        A Fit as that of kernel.fit, residual the gap over ½ ‖w‖². Derivatives are those
        of the exact solution: with respect to x, nu, gamma, offset and weights.

    Raises:
        ValueError: an argument of the wrong kind, or values out of range.

    Source: Schölkopf et al. (2001), divided by ν m and with b for their -ρ.

    """
    rows = _expansion.rows_of(x, kernel, gamma, offset, weights)
    dual = _dual_of(x, weights, nu)
    # The first rows, each up to the end of its box, until Σα = 1.
    before = jnp.cumsum(dual.upper) - dual.upper
    alpha, b, image, search = _dual.solve(
        rows,
        dual,
        jnp.clip(1 - before, 0, dual.upper),
        _smo.edge,
        solver=solver,
        tol=tol,
        max_iter=max_iter,
    )
    # So much that rows on the edge are inside also where f is rounded otherwise.
    eps = jnp.finfo(x.dtype).eps
    b = b + lax.stop_gradient(ROUNDINGS * eps * jnp.max(jnp.abs(image)))
    loss = _loss(image + b, dual)
    return search._replace(
        params=_expansion.params_of(rows, alpha, b),
        cost=loss + jnp.vdot(alpha, image) / 2 + b,
    )


@_check.pure
def scores(params: Params, x: Rows) -> jax.Array:
    """f(x) = Σ αᵢ k(xᵢ, x) + b, (m,): below 0 for rows unlike those of the fit.

    params, x, (m, n), and errors as in kernel.scores.
    """
    return _expansion.scores(params, x)


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """[f(x) ≥ 0], (m,) int32: 1 for rows like those of the fit, 0 for the others.

    Arguments and errors as in `scores`.
    """
    f = _expansion.scores(params, x)
    return (f >= 0).astype(jnp.int32)


@_check.pure
def cost(
    params: Params,
    x: Rows,
    *,
    nu: Annotated[Scalar, "(0, 1]"] = 0.5,
    weights: Weights | None = None,
) -> jax.Array:
    """J = Σ wᵢ max(0, -f(xᵢ)) / (ν Σ wᵢ) + ½ ‖w‖² + b, ().

    Args:
        params: Params.
        x: (m, n) rows; for a precomputed kernel their k with all rows of the fit.
        nu: () ν.
        weights: (m,) weights w; 1 if None.

    Raises:
        ValueError: an argument of the wrong kind, or values out of range.

    """
    f = _expansion.scores(params, x)
    norm = _expansion.squared_norm(params, x)
    return _loss(f, _dual_of(x, weights, nu)) + norm / 2 + params.b


@_check.pure
def duality_gap(
    params: Params,
    x: Rows,
    *,
    nu: Annotated[Scalar, "(0, 1]"] = 0.5,
    weights: Weights | None = None,
) -> jax.Array:
    """J - D, (), with D = -½ ‖w‖²: J is at most so far above its least value.

    For the rows of the fit. Arguments, x (m, n) among them, and errors as in `cost`.
    """
    f = _expansion.scores(params, x)
    norm = _expansion.squared_norm(params, x)
    return _loss(f, _dual_of(x, weights, nu)) + norm + params.b


@_check.pure
def kkt_residual(
    params: Params,
    x: Rows,
    *,
    nu: Annotated[Scalar, "(0, 1]"] = 0.5,
    weights: Weights | None = None,
) -> jax.Array:
    """The maximal violation of the conditions, max_down(f) - min_up(f), ().

    Down are the rows whose α may shrink, up those whose may grow: 0 or less is a
    solution. Arguments, x (m, n) among them, and errors as in `cost`; x is that of the
    fit.
    """
    _expansion.same_rows(params, x)
    dual = _dual_of(x, weights, nu)
    # The end may be rounded otherwise than in the fit: so near to it is at it.
    upper = dual.upper * (1 - 8 * jnp.finfo(x.dtype).eps)
    image = _expansion.image(params, x)
    residual = _smo.violation(params.alpha, image, dual._replace(upper=upper))
    return jnp.where(jnp.isnan(jnp.sum(upper)), jnp.nan, residual)


def _dual_of(x, weights, nu) -> _smo.Dual:
    w = _expansion.weights_of(x, weights)
    none = jnp.zeros_like(w)
    return _smo.Dual(none, none, w / (nu * jnp.sum(w)))


def _loss(f, dual):
    return jnp.vdot(dual.upper, jnp.maximum(0, -f))
