"""From rows to the solution of the dual in `_smo`, by either search."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxml import _check
from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._implicit import root
from jaxml.regression import kernels
from jaxml.regression.svm import _gram, _implicit, _linear, _smo
from jaxml.regression.svm._gram import PRECOMPUTED, KernelRows
from jaxml.regression.svm._smo import Dual

FULL = 4096  # most rows for which "full" is the default: 64 MiB of float32
FEW = 128  # most columns for which "interior" is the default of the linear kernel
NEGATIVE = 1e-2  # of the sum of sizes, from which |w|² below 0 is no rounding
SOLVERS = ("full", "block", "interior")


class Solution(NamedTuple):
    """Where the dual is solved. Only beta, b and image carry derivatives."""

    beta: jax.Array  # (m,)
    b: jax.Array  # ()
    image: jax.Array  # (m,) Kβ, so that the scores of the rows are image + b
    fit: Fit  # how the search went; its params are the search's own


def solve(
    rows: KernelRows,
    dual: Dual,
    beta: jax.Array | None = None,
    anchor: _smo.Anchor = _smo.middle,
    *,
    solver: str | None,
    tol,
    max_iter: int,
) -> Solution:
    """Solve from beta, (v,), which lies in the box, or from 0; solver may be None.

    anchor says which b is taken of those that are left.
    """
    solver = _solver(rows, solver)
    fixed_rows, fixed, beta = lax.stop_gradient((rows, dual, beta))
    options: Any = {"tol": tol, "max_iter": max_iter}
    formed = solver == "full" or (solver == "interior" and len(rows.x) <= FULL)
    theta: Any = _gram.gram(rows) if formed else rows
    if solver == "block":
        fit = _by_blocks(fixed_rows, fixed, beta, anchor, **options)
    elif solver == "interior":
        total = jnp.sum(jnp.zeros_like(fixed.p) if beta is None else beta)
        fit = _linear.search(fixed_rows, fixed, total, anchor, **options)
    else:
        beta = jnp.zeros_like(fixed.p) if beta is None else beta
        fit = _smo.full(lax.stop_gradient(theta), fixed, beta, anchor, **options)
    fit = _positive(rows.kernel, fixed, fit)
    return _solution(theta, dual, anchor, lax.stop_gradient(fit))


def _positive(kernel: kernels.Kernel, dual: Dual, fit: Fit) -> Fit:
    """SINGULAR where |w|² is clearly below 0, so that K is no kernel's.

    But for the sigmoid, of which that is known and local solutions are wanted.
    """
    if kernel in ("sigmoid", kernels.sigmoid):
        return fit
    beta, gradient = fit.params
    terms = beta * (gradient + dual.p)
    below = jnp.sum(terms) < -NEGATIVE * jnp.sum(jnp.abs(terms))
    return fit.flag(below, Status.SINGULAR)


def _solver(rows: KernelRows, solver: str | None) -> str:
    linear = _gram.linear(rows.kernel)
    if solver is None:
        m, n = rows.x.shape
        if linear and n <= FEW and 2 * n < m:
            return "interior"
        small = len(rows.x) <= FULL or rows.kernel == PRECOMPUTED
        return "full" if small else "block"
    _check.option("solver", solver, SOLVERS)
    if solver == "interior" and not linear:
        raise ValueError("solver must be 'full' or 'block' unless kernel is linear")
    if solver == "block" and rows.kernel == PRECOMPUTED:
        raise ValueError("solver must be 'full' where the kernel is precomputed")
    return solver


def _by_blocks(rows: KernelRows, dual: Dual, beta, anchor, *, tol, max_iter) -> Fit:
    """Under vmap one after another, for each keeps rows of K."""

    @jax.custom_batching.sequential_vmap
    def search(rows: KernelRows, dual: Dual, beta, tol) -> Fit:
        gradient = -dual.p
        if beta is None:
            beta = jnp.zeros_like(gradient)
        else:
            image = _gram.image(rows, rows.x, _smo.collapse(beta, len(rows.x)))
            gradient = gradient + jnp.tile(image, beta.size // image.size)
        return _smo.block(
            lambda i: _gram.between(rows, rows.x[i], rows.x),
            _gram.diagonal(rows),
            dual,
            beta,
            gradient,
            anchor,
            tol=tol,
            max_iter=max_iter,
        )

    return search(rows, dual, beta, tol)


def _solution(theta, dual: Dual, anchored, fit: Fit) -> Solution:
    """b, and what the derivatives have to know, from the variables of the search."""
    beta, gradient = fit.params
    m = len(theta.x) if isinstance(theta, KernelRows) else len(theta)
    fixed = lax.stop_gradient(dual)
    below, above = beta > fixed.lower, beta < fixed.upper
    free = below & above
    anchor = anchored(beta, gradient, fixed)
    level = jnp.vdot(anchor, dual.p)

    result, image = _smo.collapse(beta, m), gradient[:m] + fixed.p[:m]
    anchor = _smo.collapse(anchor, m)
    b = lax.stop_gradient(level) - jnp.vdot(anchor, image)
    # A row without weight has both ends in one place: the gradient says which it is at.
    at_upper = ~above & (below | (gradient + b < 0))
    edge = jnp.where(at_upper, dual.upper, dual.lower)
    copies = _smo.collapse(free.astype(beta.dtype), m)
    target = _smo.collapse(jnp.where(free, dual.p, 0), m) / jnp.maximum(copies, 1)
    at = _smo.collapse(edge, m)
    data = _implicit.Data(theta, target, at, level, anchor, copies > 0)
    found, valid = lax.stop_gradient((result, b, image)), fit.status == Status.CONVERGED
    result, b, image = root(_implicit.conditions, _implicit.solver, found, valid, data)
    return Solution(result, b, image, fit)
