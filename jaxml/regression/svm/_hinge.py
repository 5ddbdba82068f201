"""The plane with the hinge, by `_linear`, and its derivatives."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxml._rows import with_ones
from jaxml._units import shares_of
from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._implicit import derived
from jaxml.regression.svm import _gram, _linear, _smo


def fit(x, y, weights, l2, intercept: bool, tol, max_iter: int) -> Fit:
    """Fit with params = (w, b, α), which have derivatives.

    With an intercept x is to be centred: then b is small.
    """
    share = shares_of(x, weights)
    dual = _dual_of(*jax.lax.stop_gradient((y, share, l2)))
    rows = _gram.KernelRows(
        jax.lax.stop_gradient(x), jnp.ones_like(l2), jnp.ones_like(l2), "linear"
    )
    total, anchor = (jnp.zeros_like(l2), _smo.middle) if intercept else (None, _nowhere)
    result = _linear.solve(
        rows, dual, total, anchor, tol=tol, max_iter=max_iter, either=True
    )
    (beta, gradient), n = result.point, x.shape[1]
    better = result.progress.residual < result.plane.residual
    theta = result.plane.theta
    w = jnp.where(better, _gram.plane(rows, beta), theta[:n])
    b = -(anchor(beta, gradient, dual) @ gradient)
    b = jnp.where(better, b, theta[n] if intercept else 0)
    alpha = jnp.where(better, beta, _linear.plane_alpha(result))
    residual = jnp.minimum(result.progress.residual, result.plane.residual)
    done = (residual <= tol) | (result.progress.status != Status.RUNNING)
    status = jnp.where(done, Status.CONVERGED, result.search.status).astype(jnp.int32)
    exact = partial(_solution, intercept=intercept)
    w, b, alpha = derived(exact, (w, b, alpha), done, x, y, share, l2, dual, beta)
    short = jax.nn.relu(1 - (2 * y - 1) * (x @ w + b))
    cost = jnp.sum(share * jnp.where(share > 0, short, 0))
    return result.search._replace(
        params=(w, b, alpha),
        cost=cost + 0.5 * l2 * jnp.vdot(w, w),
        residual=residual,
        status=status,
        history=l2 * result.search.history,
    )


def _dual_of(y, share, l2) -> _smo.Dual:
    """max(0, 1 - s f) = |s| max(0, 1/|s| - sgn(s) f), also for s between -1 and 1."""
    s = 2 * y - 1
    cap = s * share / l2
    target = jnp.where(s == 0, 0, 1 / jnp.where(s == 0, 1, s))
    return _smo.Dual(target, jnp.minimum(cap, 0), jnp.maximum(cap, 0))


def _nowhere(beta, gradient, dual):
    return jnp.zeros_like(beta)


def _solution(x, y, share, l2, dual: _smo.Dual, beta, *, intercept: bool):
    """w, b and α as what they are: linear equations, once the active set is known.

    Rows within the margin have |α| = C; those on it, at most p in general position,
    s f = 1; from these follow θ and their α.
    """
    m, n = x.shape
    p = n + intercept
    cap = dual.lower + dual.upper
    room = jnp.minimum(jnp.abs(beta), jnp.abs(cap - beta))
    room, at = jax.lax.top_k(room / jnp.where(cap == 0, 1, jnp.abs(cap)), min(m, p))
    on = (room > 0).astype(x.dtype)
    s = 2 * y - 1
    at_cap = jnp.where((beta == cap) & (cap != 0), share / l2, 0)
    design = with_ones(x, intercept)
    touching = design[at] * (s[at] * on)[:, None]  # (min(m, p), p)
    penalty = jnp.ones(p, x.dtype).at[n:].set(0)
    top = jnp.concatenate([jnp.diag(penalty), -touching.T], axis=1)
    below = jnp.concatenate([touching, jnp.diag(1 - on)], axis=1)
    right = jnp.concatenate([(s * at_cap) @ design, on])
    result = jnp.linalg.solve(jnp.concatenate([top, below]), right)
    alpha = (s * at_cap).at[at].add(s[at] * on * result[p:])
    b = result[n] if intercept else jnp.zeros((), x.dtype)
    return result[:n], b, alpha
