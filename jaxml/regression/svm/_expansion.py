"""f(x) = Σ αᵢ k(xᵢ, x) + b: what every kernel machine here has in common."""

from dataclasses import replace
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import lax

from jaxml import _check
from jaxml._check import Static
from jaxml._units import shares, weights_or_ones
from jaxml.optimize._fit import Fit, Status
from jaxml.regression import _refined, kernels
from jaxml.regression.svm import _dual, _gram, _smo
from jaxml.regression.svm._gram import PRECOMPUTED, KernelRows


@_check.params
class Params:
    """f(x) = Σ αᵢ k(xᵢ, x) + b."""

    # for a precomputed kernel the places of the rows, int32
    x: Annotated[jax.Array, "rows n|rows"]
    # with its sign; 0 off the support
    alpha: Annotated[jax.Array, "rows|machines rows"]
    b: Annotated[jax.Array, "|machines"]  # offset
    gamma: Annotated[jax.Array, ""]  # γ of the kernel
    offset: Annotated[jax.Array, ""]  # c of the kernel
    kernel: Static[kernels.Kernel] = "rbf"  # or "precomputed"


def rows_of(x, kernel, gamma, offset, weights) -> KernelRows:
    """The rows of a fit, with their γ, kernels.scale_gamma if None, and c."""
    if kernel == PRECOMPUTED:
        _check.shapes(x=(x, "m m"))
        gamma = 1.0 if gamma is None else gamma
    elif gamma is None:
        gamma = kernels.scale_gamma(x, weights=weights)
    gamma, offset = (jnp.asarray(value, x.dtype) for value in (gamma, offset))
    return KernelRows(x, gamma, offset, kernel)


def centred(rows: KernelRows, weights) -> KernelRows:
    """The rows with their mean for an origin, where that counts, for Σα = 0.

    Rows of weight 0 are put there, so that no large number of theirs is met.
    """
    if not _gram.anchored(rows.kernel):
        return rows
    share = shares(weights)
    if rows.kernel == PRECOMPUTED:
        return replace(rows, origin=lax.stop_gradient(share))
    origin = lax.stop_gradient(share @ rows.x)
    # Less the last bits, or a compiler may round differences from it in two ways.
    origin = _refined.cut(origin, 6)
    there = (weights > 0)[:, None]
    return replace(rows, x=jnp.where(there, rows.x, origin[None]), origin=origin)


def params_of(rows: KernelRows, alpha, b) -> Params:
    """Params that hold what prediction needs of the rows."""
    x = rows.x
    if rows.kernel == PRECOMPUTED:
        x = jnp.arange(len(x), dtype=jnp.int32)
    return Params(x, alpha, b, rows.gamma, rows.offset, rows.kernel)


def scores(params: Params, x) -> jax.Array:
    """f, (m,), or (m, p) of p machines, for the rows of x, (m, n)."""
    around, constant, of_origin = _image(params, x)
    # b nearly cancels the constant far from 0: first these two.
    constant = constant + params.b
    return around + (constant[None] if constant.ndim else constant) + of_origin


def image(params: Params, x) -> jax.Array:
    """Σ αᵢ k(xᵢ, x), (m,), or (m, p) of p machines, for the rows of x, (m, n)."""
    none = jnp.zeros_like(params.b)
    return scores(replace(params, b=none), x)


def _image(params: Params, x):
    """Three terms of Σ αᵢ k(xᵢ, x): around an origin, constant, and of its kernel."""
    alpha = params.alpha.T
    support = jnp.where(params.alpha != 0, 1, 0).reshape(-1, len(alpha)).any(axis=0)
    share = support.astype(x.dtype) / jnp.maximum(jnp.sum(support), 1)
    if params.kernel == PRECOMPUTED:
        k = x[:, params.x]
        of_origin = k @ share
        around = (k - of_origin[:, None]) @ alpha
        return around, 0, _outer(of_origin, _sum(params.alpha))
    rows = KernelRows(params.x, params.gamma, params.offset, params.kernel)
    if not _gram.anchored(rows.kernel):
        return _gram.image(rows, x, alpha), 0, 0
    origin = _refined.cut(lax.stop_gradient(share @ params.x), 6)
    of_origin = _gram.between(rows, x, origin[None])[:, 0]
    rows = replace(rows, origin=origin)
    around = _gram.image(rows, x, alpha)
    constant = _gram.constant(rows, alpha)
    return around, constant, _outer(of_origin, _sum(params.alpha))


def _sum(alpha):
    """Σα, () or (p,): of a fit it is 0 but for rounding, which is not to be lost."""
    one = jnp.ones((alpha.shape[-1], 1), alpha.dtype)
    return _gram.exact_sum(one, alpha.T)[0]


def _outer(rows, machines):
    return rows[:, None] * machines[None] if machines.ndim else rows * machines


def given(params: Params, gram) -> jax.Array:
    """What the norm is computed from: the rows of params, or the matrix."""
    if (params.kernel == PRECOMPUTED) != (gram is not None):
        raise ValueError("gram must be given if the kernel is precomputed, only then")
    return params.x if gram is None else gram


def squared_norm(params: Params, x) -> jax.Array:
    """‖w‖², (); x is the matrix of the rows where the kernel is precomputed."""
    rows = x[params.x] if params.kernel == PRECOMPUTED else params.x
    around, constant, of_origin = _image(params, rows)
    moment = jnp.vdot(params.alpha, around + of_origin)
    return moment + constant * _sum(params.alpha)


def same_rows(params: Params, x) -> None:
    """Refuse params of other rows than x: of fewer, as `compact` leaves them, too."""
    _check.shapes(**{"x": (x, "m n"), "params.alpha": (params.alpha, "m")})


def weights_of(x, weights, y=None, class_weights=None) -> jax.Array:
    """Weights, (m,), times those of the rows' classes, (k,), if there are any.

    NaN for a negative one, possible only under tracing.
    """
    w = weights_or_ones(weights, x)
    if class_weights is not None:
        w = weights_of(x, w) * class_weights[y]
    return jnp.where(w >= 0, w, jnp.nan)


# --- two classes --------------------------------------------------------------------


def box(signs, share, l2) -> _smo.Dual:
    """The dual of `separate`: α lies between 0 and sᵢ shareᵢ / l2."""
    cap = signs * share / l2
    return _smo.Dual(signs, jnp.minimum(cap, 0), jnp.maximum(cap, 0))


def hinge(f, signs, share) -> jax.Array:
    """Σ shareᵢ max(0, 1 - sᵢ fᵢ), ()."""
    return jnp.vdot(share, jnp.maximum(0, 1 - signs * f))


def separate(rows: KernelRows, signs, share, l2, *, solver, tol, max_iter) -> Fit:
    """Fit Σ shareᵢ max(0, 1 - sᵢ f(xᵢ)) + l2/2 ‖w‖²; Fit.params are α, (m,), and b.

    signs are s, (m,); share, (m,), is 0 for a row that takes no part. Status INVALID
    where no row of one sign takes part, or l2 is 0.
    """
    rows = centred(rows, share)
    alpha, b, image, search = _dual.solve(
        rows,
        box(signs, share, jnp.where(l2 > 0, l2, 1)),
        solver=solver,
        tol=tol,
        max_iter=max_iter,
    )
    both = jnp.any(share * signs > 0) & jnp.any(share * signs < 0)
    return search.flag(~(both & (l2 > 0)), Status.INVALID)._replace(
        params=(alpha, uncentred(rows, alpha, b)),
        cost=hinge(image + b, signs, share) + l2 / 2 * jnp.vdot(alpha, image),
        history=l2 * search.history,
    )


def uncentred(rows: KernelRows, alpha, b) -> jax.Array:
    """The b of Σ αᵢ k(xᵢ, x) + b from that with the origin of the rows, for Σα = 0."""
    if rows.origin is None:
        return b
    b = b - _gram.constant(rows, alpha)
    if rows.kernel == PRECOMPUTED:
        return b
    raw, origin = replace(rows, origin=None), rows.origin[None]
    return b - _sum(alpha) * _gram.between(raw, origin, origin)[0, 0]
