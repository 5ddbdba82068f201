"""The derivatives of a solution of the dual in `_smo`.

They are those of the conditions that hold there (optimize/_implicit.py): on the free
rows, whose β lies inside its box, (Kβ)_i + b = t_i; the others stay at the end of their
box; and Σβ stays what it is.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxml.optimize._linear_solve import cg, solve
from jaxml.regression.svm import _gram

SEARCH = 2000  # most steps of the conjugate gradients, where K is not formed


class Data(NamedTuple):
    """What a solution depends on."""

    theta: Any  # K, (m, m), or KernelRows where it is not formed
    target: jax.Array  # (m,) t, of the free rows
    edge: jax.Array  # (m,) β of the others
    level: jax.Array  # () b = level - anchor · Kβ
    anchor: jax.Array  # (m,)
    free: jax.Array  # (m,) bool


def conditions(result, data: Data):
    """What is 0 for β, b and Kβ; of the free β also their mean is held, to keep Σβ."""
    (beta, b, image), free = result, data.free
    edge = jnp.where(free, 0, data.edge)
    share = free / jnp.maximum(jnp.sum(free), 1).astype(beta.dtype)
    return (
        _project(free, image - data.target),
        beta - _project(free, beta) - (edge - share * jnp.sum(edge)),
        b + jnp.vdot(data.anchor, image) - data.level,
        image - _product(data.theta, beta),
    )


def solver(product, right, result, data: Data):
    """For the β that move with their box first, then for the free ones."""
    inner, held, level, moved = right
    rest = inner - _project(data.free, moved + _product(data.theta, held))
    solve_for = _solve_rows if _by_rows(data.theta) else _solve_dense
    beta = held + solve_for(data.theta, data.free, rest)
    image = moved + _product(data.theta, beta)
    return beta, level - jnp.vdot(data.anchor, image), image


def _by_rows(theta) -> bool:
    return isinstance(theta, _gram.KernelRows)


def _product(theta, v):
    return _gram.image(theta, theta.x, v) if _by_rows(theta) else theta @ v


def _project(free, v):
    """P v: v on the free rows, less its mean there; 0 on the others."""
    mean = jnp.sum(jnp.where(free, v, 0)) / jnp.maximum(jnp.sum(free), 1)
    return jnp.where(free, v - mean, 0).astype(v.dtype)


def _linear_solve(free, product: Callable, search: Callable, rest):
    """Solve P K P u = rest, which lies in the range of P.

    The system solved is P K P + (1 - P), which is symmetric and as regular.
    """

    def matvec(v):
        inside = _project(free, v)
        return _project(free, product(inside)) + (v - inside)

    return solve(matvec, rest, search=search)


def _solve_dense(gram, free, rest):
    """The same by elimination, with K formed, (m, m)."""

    def search(_, rest):
        project = jax.vmap(partial(_project, free))
        one = jnp.eye(len(free), dtype=gram.dtype)
        return jnp.linalg.solve(project(project(gram).T) + one - project(one), rest)

    return _linear_solve(free, lambda v: gram @ v, search, rest)


def _solve_rows(rows: _gram.KernelRows, free, rest):
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

    return _linear_solve(free, product, partial(cg, max_iter=SEARCH), rest)
