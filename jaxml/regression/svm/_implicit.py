"""The derivatives of a solution of the dual in `_smo`.

They are those of the conditions that hold there (the implicit function theorem): on the
free rows, whose β lies inside its box, (Kβ)_i + b = t_i; the others stay at the end of
their box; and Σβ stays what it is. Nothing of the search is differentiated.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxml import _check
from jaxml.optimize._fit import Status
from jaxml.regression.svm import _gram

SEARCH = 2000  # most steps of the conjugate gradients, where K is not formed


class Known(NamedTuple):
    beta: jax.Array  # (m,)
    b: jax.Array  # ()
    image: jax.Array  # (m,) Kβ
    free: jax.Array  # (m,) bool
    anchor: jax.Array  # (m,) b = level - anchor · image
    status: jax.Array  # ()


@jax.custom_jvp
def solution(theta, target, edge, level, known: Known):
    """Give back β, b and Kβ, with derivatives; NaN unless CONVERGED.

    theta is K, or Rows where it is not formed; target t, (m,), counts at free rows and
    edge, (m,), at the others; level, (), moves b.
    """
    return known.beta, known.b, known.image


@solution.defjvp
@_check.precise
def _solution_jvp(primals, tangents):
    theta, *_, known = primals
    d_theta, d_target, d_edge, d_level, _ = tangents
    free = known.free

    def product(theta, v):
        if isinstance(theta, _gram.Rows):
            return _gram.image(theta, theta.x, v)
        return theta @ v

    moved = jax.jvp(lambda t: product(t, known.beta), (theta,), (d_theta,))[1]
    # Others move with their box, and the free ones, first, by one amount to keep Σβ.
    share = free / jnp.maximum(jnp.sum(free), 1).astype(moved.dtype)
    shift = jnp.where(free, 0, d_edge)
    shift = shift - share * jnp.sum(shift)
    rest = _project(free, d_target - moved - product(theta, shift))
    solve = _solve_rows if isinstance(theta, _gram.Rows) else _solve_dense
    d_beta = shift + solve(theta, free, rest)
    # A product, because the transpose of a where would be 0 and not NaN.
    valid = jnp.where(known.status == Status.CONVERGED, 1, jnp.nan).astype(moved.dtype)
    d_beta = d_beta * valid
    d_image = moved * valid + product(theta, d_beta)
    d_b = d_level - jnp.vdot(known.anchor, d_image)
    return (known.beta, known.b, known.image), (d_beta, d_b, d_image)


def _project(free, v):
    """P v: v on the free rows, less its mean there; 0 on the others."""
    mean = jnp.sum(jnp.where(free, v, 0)) / jnp.maximum(jnp.sum(free), 1)
    return jnp.where(free, v - mean, 0).astype(v.dtype)


def _linear_solve(free, product: Callable, solve: Callable, rest):
    """Solve P K P u = rest, which lies in the range of P; NaN where that fails.

    The system solved is P K P + (1 - P), which is symmetric and as regular.
    """

    def matvec(v):
        inside = _project(free, v)
        return _project(free, product(inside)) + (v - inside)

    def checked(matvec, rest):
        u = solve(matvec, rest)
        loss = jnp.linalg.norm(matvec(u) - rest)
        fine = loss <= jnp.finfo(rest.dtype).eps ** 0.5 * jnp.linalg.norm(rest)
        return jnp.where(fine, u, jnp.nan)

    return lax.custom_linear_solve(matvec, rest, checked, symmetric=True)


def _solve_dense(gram, free, rest):
    """The same by elimination, with K formed, (m, m)."""
    mask = free.astype(gram.dtype)

    def solve(_, rest):
        count = jnp.maximum(jnp.sum(mask), 1)
        inside = gram * mask[:, None] * mask[None]
        means = jnp.sum(inside, axis=1) / count
        centre = jnp.sum(means) / count
        inside = inside - mask[:, None] * means[None] - means[:, None] * mask[None]
        inside = inside + (centre + 1 / count) * mask[:, None] * mask[None]
        return jnp.linalg.solve(inside + jnp.diag(1 - mask), rest)

    return _linear_solve(free, lambda v: gram @ v, solve, rest)


def _solve_rows(rows: _gram.Rows, free, rest):
    """The same by conjugate gradients, with products of the free rows alone."""
    m = len(free)
    order = jnp.argsort(~free, stable=True)
    extra = -m % _gram.CHUNK
    x = jnp.pad(rows.x[order], ((0, extra), (0, 0)), mode="edge")
    chunks = -(-jnp.sum(free) // _gram.CHUNK)

    def part(values, i):
        return lax.dynamic_slice_in_dim(values, i * _gram.CHUNK, _gram.CHUNK)

    def product(v):
        v = jnp.pad(v[order], (0, extra))

        def row_chunk(i, out):
            def add(j, total):
                k = _gram.between(rows, part(x, i), part(x, j))
                return total + k @ part(v, j)

            total = lax.fori_loop(0, chunks, add, jnp.zeros(_gram.CHUNK, v.dtype))
            return lax.dynamic_update_slice_in_dim(out, total, i * _gram.CHUNK, 0)

        out = lax.fori_loop(0, chunks, row_chunk, jnp.zeros_like(v))
        return jnp.zeros(m, v.dtype).at[order].set(out[:m])

    def solve(matvec, rest):
        tol = 10 * float(jnp.finfo(rest.dtype).eps)
        search: Any = jax.scipy.sparse.linalg.cg
        return search(matvec, rest, tol=tol, maxiter=SEARCH)[0]

    return _linear_solve(free, product, solve, rest)
