"""Support vector regression: a tube of half-width ε around f, free of cost inside.

f(x) = Σ αᵢ k(xᵢ, x) + b with -C wᵢ ≤ αᵢ ≤ C wᵢ and Σ αᵢ = 0. Rows inside the tube have
α = 0, those outside |α| = C wᵢ, and α has the sign of y - f.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxml import _check
from jaxml._check import Count, NonNegative, Rows, Scalar, Static, Targets, Weights
from jaxml._units import shares
from jaxml.optimize._fit import Fit, Status
from jaxml.regression import kernels
from jaxml.regression.svm import _dual, _expansion, _smo
from jaxml.regression.svm._expansion import Params as Params

__all__ = ["Params", "cost", "duality_gap", "fit", "kkt_residual", "predict"]

Kernel = kernels.Kernel  # or "precomputed"


@_check.fit
def fit(
    x: Rows,
    y: Targets,
    *,
    epsilon: NonNegative = 0.1,
    l2: NonNegative = 1e-2,
    kernel: Static[Kernel] = "rbf",
    gamma: NonNegative | None = None,
    offset: Scalar = 1.0,
    weights: Weights | None = None,
    solver: Static[str | None] = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 500,
) -> Fit:
    """J = Σ wᵢ max(0, |yᵢ - f(xᵢ)| - ε) / Σ wᵢ + l2/2 ‖w‖², minimised via its dual.

    Args:
        x: (m, n) rows; for kernel="precomputed" the matrix K, (m, m).
        y: (m,) targets; epsilon is in their unit.
        epsilon: () half the width of the tube, ε.
        l2: () factor of ½‖w‖², above 0: C = 1/(l2 Σw) in LIBSVM and scikit-learn.
        kernel: as in kernel.fit.
        gamma: () γ of the kernel; None for kernels.scale_gamma, 1/(n var x).
        offset: () c of polynomial and sigmoid; coef0, 0 by default, in LIBSVM.
        weights: (m,) weights w; 1 if None.
        solver: as in kernel.fit.
        tol: () largest duality gap over the cost, as in kernel.fit.
        max_iter: the most rounds, as in kernel.fit.

    Returns:
        A Fit as that of kernel.fit. Derivatives are those of the exact solution: with
        respect to x, y, epsilon, l2, gamma, offset and weights. Status INVALID where l2
        is 0.

    Raises:
        ValueError: an argument of the wrong kind, or values out of range.

    Source: Vapnik (1995); Smola and Schölkopf (2004), with α for their α - α*.

    """
    rows = _expansion.rows_of(x, kernel, gamma, offset, weights)
    share = _share(x, weights)
    fitted = _expansion.centred(rows, share)
    # From their mean, y of any offset has the digits of its deviations.
    middle = lax.stop_gradient(jnp.vdot(share, jnp.where(share > 0, y, 0)))
    y = y - middle
    alpha, b, image, search = _dual.solve(
        fitted,
        _dual_of(y, epsilon, share, jnp.where(l2 > 0, l2, 1)),
        solver=solver,
        tol=tol,
        max_iter=max_iter,
    )
    loss = _loss(image + b, y, epsilon, share)
    b = _expansion.uncentred(fitted, alpha, b) + middle
    return search.flag(~(l2 > 0), Status.INVALID)._replace(
        params=_expansion.params_of(rows, alpha, b),
        cost=loss + l2 / 2 * jnp.vdot(alpha, image),
        history=l2 * search.history,
    )


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """f(x) = Σ αᵢ k(xᵢ, x) + b, (m,).

    params, x, (m, n), and errors as in kernel.scores.
    """
    return _expansion.scores(params, x)


@_check.pure
def cost(
    params: Params,
    x: Rows,
    y: Targets,
    *,
    epsilon: NonNegative = 0.1,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
) -> jax.Array:
    """J = Σ wᵢ max(0, |yᵢ - f(xᵢ)| - ε) / Σ wᵢ + l2/2 ‖w‖², ().

    Args:
        params: Params.
        x: (m, n) rows; for a precomputed kernel their k with all rows of the fit.
        y: (m,) targets.
        epsilon: () half the width of the tube, ε.
        l2: () factor of ½‖w‖² = ½ Σ αᵢ αⱼ k(xᵢ, xⱼ); C = 1/(l2 Σw) in scikit-learn.
        weights: (m,) weights w; 1 if None.

    Raises:
        ValueError: an argument of the wrong kind, or values out of range.

    """
    f = _expansion.scores(params, x)
    loss = _loss(f, y, epsilon, _share(x, weights))
    if _check.is_zero(l2):
        return loss
    return loss + l2 / 2 * _expansion.squared_norm(params, x)


@_check.pure
def duality_gap(
    params: Params,
    x: Rows,
    y: Targets,
    *,
    l2: NonNegative,
    epsilon: NonNegative = 0.1,
    weights: Weights | None = None,
) -> jax.Array:
    """J - D, (): J is at most so far above its least value; for the rows of the fit.

    D = l2 (Σ yᵢ αᵢ - ε Σ |αᵢ| - ½ ‖w‖²) is the dual, which LIBSVM prints divided by
    -l2. Arguments, x (m, n) among them, and errors as in `cost`.
    """
    _expansion.same_rows(params, x)
    f = _expansion.scores(params, x)
    primal = _loss(f, y, epsilon, _share(x, weights))
    linear = jnp.vdot(y, params.alpha) - epsilon * jnp.sum(jnp.abs(params.alpha))
    return primal - l2 * (linear - _expansion.squared_norm(params, x))


@_check.pure
def kkt_residual(
    params: Params,
    x: Rows,
    y: Targets,
    *,
    l2: NonNegative,
    epsilon: NonNegative = 0.1,
    weights: Weights | None = None,
) -> jax.Array:
    """The maximal violation of the conditions, (); 0 or less at a solution.

    max over the rows whose α may grow of y - f ∓ ε, less the min over those whose may
    shrink, ε with the sign of α. Arguments, x (m, n) among them, and errors as in
    `cost`; x and y are those of the fit.
    """
    _expansion.same_rows(params, x)
    # C may be rounded otherwise than in the fit: so near to the end is at the end.
    share = _share(x, weights) * (1 - 8 * jnp.finfo(x.dtype).eps)
    dual = _dual_of(y, epsilon, share, l2)
    alpha = params.alpha
    beta = jnp.concatenate([jnp.maximum(alpha, 0), jnp.minimum(alpha, 0)])
    image = _expansion.image(params, x)
    residual = _smo.violation(beta, jnp.tile(image, 2) - dual.p, dual)
    return jnp.where(jnp.isnan(jnp.sum(share)), jnp.nan, residual)


def _dual_of(y, epsilon, share, l2) -> _smo.Dual:
    """The dual in 2m variables: the positive and the negative part of α."""
    cap, none = share / l2, jnp.zeros_like(share)
    return _smo.Dual(
        p=jnp.concatenate([y - epsilon, y + epsilon]),
        lower=jnp.concatenate([none, -cap]),
        upper=jnp.concatenate([cap, none]),
    )


def _share(x, weights):
    return shares(_expansion.weights_of(x, weights))


def _loss(f, y, epsilon, share):
    return jnp.vdot(share, jnp.maximum(0, jnp.abs(y - f) - epsilon))
