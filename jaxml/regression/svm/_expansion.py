"""f(x) = Σ αᵢ k(xᵢ, x) + b: what every kernel machine here has in common."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml.optimize.fit import Fit, Status
from jaxml.regression import kernels
from jaxml.regression.svm import _dual, _gram, _smo
from jaxml.regression.svm._gram import PRECOMPUTED, Rows, Spec


class Params(NamedTuple):
    """f(x) = Σ αᵢ k(xᵢ, x) + b."""

    # for a precomputed kernel the places of the rows, int32
    x: Annotated[jax.Array, "rows n|rows"]
    # with its sign; 0 off the support
    alpha: Annotated[jax.Array, "rows|machines rows"]
    b: Annotated[jax.Array, "|machines"]
    gamma: Annotated[jax.Array, ""]  # γ of the kernel
    offset: Annotated[jax.Array, ""]  # c of the kernel


def rows_of(x, kernel, gamma, offset, weights) -> Rows:
    """The rows of a fit, with their γ, kernels.scale_gamma if None, and c."""
    if kernel == PRECOMPUTED:
        _check.shapes(x=(x, "m m"))
        gamma = 1.0 if gamma is None else gamma
    elif gamma is None:
        gamma = kernels.scale_gamma(x, weights=weights)
    gamma, offset = (jnp.asarray(value, x.dtype) for value in (gamma, offset))
    return Rows(x, gamma, offset)


def params_of(spec: Spec, rows: Rows, alpha, b) -> Params:
    """Params that hold what prediction needs of the rows."""
    x = rows.x
    if spec.kernel == PRECOMPUTED:
        x = jnp.arange(len(x), dtype=jnp.int32)
    return Params(x, alpha, b, rows.gamma, rows.offset)


def scores(spec: Spec, params: Params, x) -> jax.Array:
    """f, (m,), or (m, p) of p machines, for the rows of x, (m, n)."""
    return image(spec, params, x) + (params.b[None] if params.b.ndim else params.b)


def image(spec: Spec, params: Params, x) -> jax.Array:
    """Σ αᵢ k(xᵢ, x), (m,), or (m, p) of p machines, for the rows of x, (m, n)."""
    if spec.kernel == PRECOMPUTED:
        return jnp.matmul(x[:, params.x], params.alpha.T, precision="highest")
    _check.shapes(**{"params.x": (params.x, "s n"), "x": (x, "m n")})
    rows = Rows(params.x, params.gamma, params.offset)
    return _gram.image(spec, rows, x, params.alpha.T)


def given(spec: Spec, params: Params, gram) -> jax.Array:
    """What the norm is computed from: the rows of params, or the matrix."""
    if (spec.kernel == PRECOMPUTED) != (gram is not None):
        raise ValueError("gram must be given if the kernel is precomputed, only then")
    return params.x if gram is None else gram


def squared_norm(spec: Spec, params: Params, x) -> jax.Array:
    """‖w‖², (); x is the matrix of the rows where the kernel is precomputed."""
    rows = x[params.x] if spec.kernel == PRECOMPUTED else params.x
    return dot(params.alpha, image(spec, params, rows))


def same_rows(params: Params, x) -> None:
    """Refuse params of other rows than x: of fewer, as `support` leaves them, too."""
    _check.shapes(**{"x": (x, "m n"), "params.alpha": (params.alpha, "m")})


def weights_of(x, weights) -> jax.Array:
    """Weights of the rows, (m,); NaN for a negative one, which only a trace lets in."""
    w = jnp.ones(len(x), x.dtype) if weights is None else weights
    return jnp.where(w >= 0, w, jnp.nan)


def dot(a, b) -> jax.Array:
    """a·b, ()."""
    return jnp.vdot(a, b, precision="highest")


# --- two classes --------------------------------------------------------------------


def box(signs, share, l2) -> _smo.Problem:
    """The dual of `separate`: α lies between 0 and sᵢ shareᵢ / l2."""
    cap = signs * share / l2
    return _smo.Problem(signs, jnp.minimum(cap, 0), jnp.maximum(cap, 0))


def hinge(f, signs, share) -> jax.Array:
    """Σ shareᵢ max(0, 1 - sᵢ fᵢ), ()."""
    return dot(share, jnp.maximum(0, 1 - signs * f))


def separate(spec: Spec, rows: Rows, signs, share, l2, *, solver, tol, max_iter) -> Fit:
    """Fit Σ shareᵢ max(0, 1 - sᵢ f(xᵢ)) + l2/2 ‖w‖²; Fit.params are α, (m,), and b.

    signs are s, (m,); share, (m,), is 0 for a row that takes no part. Status INVALID
    where no row of one sign takes part, or l2 is 0.
    """
    problem = box(signs, share, l2)
    alpha, b, image, search = _dual.solve(
        spec, rows, problem, solver=solver, tol=tol, max_iter=max_iter
    )
    both = jnp.any(share * signs > 0) & jnp.any(share * signs < 0)
    return search._replace(
        params=(alpha, b),
        cost=hinge(image + b, signs, share) + l2 / 2 * dot(alpha, image),
        status=doubted(search.status, both & (l2 > 0)),
        history=l2 * search.history,
    )


def doubted(status, valid) -> jax.Array:
    """The status; INVALID, or what is graver, where not valid."""
    worse = jnp.maximum(status, Status.INVALID)
    return jnp.where(valid, status, worse).astype(jnp.int32)
