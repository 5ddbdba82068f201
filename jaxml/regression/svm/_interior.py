"""The hinge by a primal-dual interior point: equations of (w, b), not of the rows.

With z̃ᵢ = sᵢ (xᵢ, 1), P = diag(1 … 1, 0) and C_i = wᵢ / (l2 Σw), the minimum of
½ θᵀPθ + Σ C_i max(0, 1 - z̃ᵢ·θ) has forces 0 <= a <= C with P θ = Σ aᵢ z̃ᵢ, and slacks
u, v >= 0 with z̃ᵢ·θ - 1 = uᵢ - vᵢ, aᵢ uᵢ = 0 and (C_i - aᵢ) vᵢ = 0. Newton's method on
these, with the products held at a falling μ, needs one weighted Gram matrix a step.

Source: Mehrotra (1992) for the two solves of a step; Ferris and Munson (2002).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxml._rows import mirrored, product, total, triangle, with_ones
from jaxml.optimize.fit import Fit, Progress, Status, iterate

SHORT = 0.995  # the share of the way to the boundary that is taken


class State(NamedTuple):
    """A point inside the box, with all its slacks above 0."""

    theta: jax.Array  # (p,) w, and b if there is one
    a: jax.Array  # (m,) forces
    u: jax.Array  # (m,) slack of a >= 0
    v: jax.Array  # (m,) slack of a <= C
    z: jax.Array  # (m,) z̃ · θ
    pull: jax.Array  # (p,) Σ aᵢ z̃ᵢ


class Problem(NamedTuple):
    """What does not change."""

    x: jax.Array  # (m, n)
    s: jax.Array  # (m,) signs; 0 for a row that is left out
    most: jax.Array  # (m,) C; 1 for a row that is left out
    target: jax.Array  # (m,) 1; 0 for a row that is left out
    penalty: jax.Array  # (p,) diagonal of P


def fit(x, y, weights, l2, intercept: bool, tol, max_iter: int) -> Fit:
    """Fit with params = (w, b, α), which have derivatives."""
    problem = _problem(*jax.lax.stop_gradient((x, y, weights, l2)), intercept)
    found = _search(problem, tol, max_iter)
    state: State = found.params
    w, b, alpha = _exact(x, y, weights, l2, intercept, problem, state)
    valid = jnp.where(found.status == Status.CONVERGED, 1, jnp.nan).astype(x.dtype)
    n = x.shape[1]
    b_found = state.theta[n] if intercept else jnp.zeros((), x.dtype)
    # Forces that are only slacks of the search are none.
    alpha_found = problem.s * jnp.where(_out(problem, state), 0, state.a)
    searched = state.theta[:n], b_found, alpha_found
    share = 1 / len(x) if weights is None else weights / jnp.sum(weights)

    def cost(w, b):
        short = jax.nn.relu(1 - (2 * y - 1) * (product(x, w) + b))
        return jnp.sum(share * short) + 0.5 * l2 * jnp.vdot(w, w)

    # The equations give the last digits too, where the search has told who is who.
    inside = (problem.s * alpha >= 0) & (problem.s * alpha <= problem.most)
    better = inside.all() & (cost(w, b) <= cost(*searched[:2]))
    params = tuple(
        _with_derivative(jnp.where(better, e, f), e, valid)
        for e, f in zip((w, b, alpha), searched, strict=True)
    )
    return found._replace(params=params, cost=cost(*params[:2]))


def _problem(x, y, weights, l2, intercept: bool) -> Problem:
    weights = jnp.ones(len(x), x.dtype) if weights is None else weights
    there = weights > 0
    penalty = jnp.append(jnp.ones(x.shape[1], x.dtype), jnp.zeros(intercept, x.dtype))
    return Problem(
        x,
        jnp.where(there, 2 * y - 1, 0),
        jnp.where(there, weights / (l2 * jnp.sum(weights)), 1),
        there.astype(x.dtype),
        penalty,
    )


def _forward(problem: Problem, theta):
    """z̃ · θ, (m,)."""
    n = problem.x.shape[1]
    z = product(problem.x, theta[:n])
    return problem.s * (z + theta[n] if len(theta) > n else z)


def _back(problem: Problem, rows):
    """Σ rᵢ z̃ᵢ, (p,)."""
    rows = rows * problem.s
    of_w = product(rows, problem.x)
    wide = len(problem.penalty) > problem.x.shape[1]
    return jnp.append(of_w, jnp.sum(rows)) if wide else of_w


def _gram(problem: Problem, inverse):
    """P + Σ z̃ z̃ᵀ / E, (p, p), in one pass over the rows."""
    wide = len(problem.penalty) > problem.x.shape[1]

    def sums(x, scaled):
        a = with_ones(x, wide)
        return triangle(a, a * scaled[:, None])

    found = mirrored(total(sums, problem.x, problem.s**2 * inverse))
    return found + jnp.diag(problem.penalty)


def _search(problem: Problem, tol, max_iter: int) -> Fit:
    most, target, penalty = problem.most, problem.target, problem.penalty
    m = len(most)

    def step(state: State):
        theta, a, u, v, z, pull = state
        slack = most - a
        off_primal = z - target - u + v
        off_dual = penalty * theta - pull
        mu = (jnp.vdot(a, u) + jnp.vdot(slack, v)) / (2 * m)
        inverse = 1 / (u / a + v / slack)
        gram = _gram(problem, inverse)
        scale = 1 / jnp.sqrt(jnp.diagonal(gram))
        factor = jax.scipy.linalg.cho_factor(gram * jnp.outer(scale, scale))

        def move(of_u, of_v):
            """The changes that bring a u to a u + of_u, and likewise for v."""
            q = -off_primal + of_u / a - of_v / slack
            right = _back(problem, inverse * q) - off_dual
            d_theta = scale * jax.scipy.linalg.cho_solve(factor, scale * right)
            d_z = _forward(problem, d_theta)
            d_a = inverse * (q - d_z)
            d_u, d_v = (of_u - u * d_a) / a, (of_v + v * d_a) / slack
            primal = jnp.minimum(_longest(a, d_a), _longest(slack, -d_a))
            dual = jnp.minimum(_longest(u, d_u), _longest(v, d_v))
            lengths = jnp.minimum(1, SHORT * primal), jnp.minimum(1, SHORT * dual)
            return (d_theta, d_a, d_u, d_v, d_z), lengths

        def improve(_, last):
            of_u, of_v, _ = last
            moved = move(of_u, of_v)
            (_, d_a, d_u, d_v, _), (primal, dual) = moved
            foretold = jnp.vdot(a + primal * d_a, u + dual * d_u)
            foretold += jnp.vdot(slack - primal * d_a, v + dual * d_v)
            centre = (foretold / (2 * m) / mu) ** 3 * mu
            return centre - a * u - d_a * d_u, centre - slack * v + d_a * d_v, moved

        # First straight to the boundary, then with the products drawn to what that
        # could not have reached: a loop of two, so that a move is compiled once.
        one = jnp.ones_like(mu)
        none = (0 * theta, 0 * a, 0 * u, 0 * v, 0 * z), (one, one)
        first = -a * u, -slack * v, none
        moved = jax.lax.fori_loop(0, 2, improve, first)[2]
        (d_theta, d_a, d_u, d_v, d_z), (primal, dual) = moved
        state = State(
            theta + dual * d_theta,
            a + primal * d_a,
            u + dual * d_u,
            v + dual * d_v,
            z + dual * d_z,
            pull + primal * (penalty * d_theta + off_dual),
        )
        return state, _progress(problem, state)

    one = jnp.ones_like(most)
    pull = _back(problem, most / 2)
    start = State(0 * pull, most / 2, one, one, 0 * one, pull)
    return iterate(step, start, tol=tol, max_iter=max_iter, patience=10)


def _longest(value, change):
    """The step at which some value would reach 0."""
    return jnp.min(jnp.where(change < 0, -value / change, jnp.inf))


def _progress(problem: Problem, state: State) -> Progress:
    """The primal cost over l2, and the gap between it and what the forces certify."""
    short = jax.nn.relu(problem.target - state.z)
    energy = jnp.vdot(problem.penalty * state.theta, state.theta)
    primal = 0.5 * energy + jnp.vdot(
        jnp.where(problem.target > 0, problem.most, 0), short
    )
    held = problem.penalty * state.pull
    dual = jnp.vdot(problem.target, state.a) - 0.5 * jnp.vdot(held, held)
    # Where Σ s a is not 0 the dual is no bound; it is part of what is to vanish.
    force = jnp.sum(jnp.abs((1 - problem.penalty) * state.pull))
    gap = (primal - dual + force) / jnp.maximum(1, primal)
    return Progress(primal, gap)


def _out(problem: Problem, state: State):
    """Rows beyond the margin, whose force vanishes as the search goes on."""
    return (state.a / problem.most <= state.u) | (problem.target == 0)


# --- derivatives -------------------------------------------------------------------


def _exact(x, y, weights, l2, intercept: bool, problem: Problem, state: State):
    """The solution as what it is: linear equations, once it is known who touches what.

    Rows within the margin press with all of C; those on it, at most p in general
    position, so that s f = 1; from these follow θ and their forces.
    """
    m, n = x.shape
    p = n + intercept
    room = (problem.most - state.a) / problem.most
    out = _out(problem, state)
    within = (room <= state.v) & ~out
    share = jnp.minimum(state.a / problem.most, room)
    count = min(m, p)
    share, at = jax.lax.top_k(jnp.where(out | within, -1, share), count)
    on = (share > 0).astype(x.dtype)
    s = 2 * y - 1
    weights = jnp.ones(m, x.dtype) if weights is None else weights
    most = jnp.where(within, weights / (l2 * jnp.sum(weights)), 0)
    design = with_ones(x, intercept)
    touching = design[at] * (s[at] * on)[:, None]  # (count, p)
    corner = jnp.diag(1 - on)
    top = jnp.concatenate([jnp.diag(problem.penalty), -touching.T], axis=1)
    matrix = jnp.concatenate([top, jnp.concatenate([touching, corner], axis=1)])
    right = jnp.concatenate([product(s * most, design), on])
    found = jnp.linalg.solve(matrix, right)
    alpha = (s * most).at[at].add(s[at] * on * found[p:])
    b = found[n] if intercept else jnp.zeros((), x.dtype)
    return found[:n], b, alpha


@jax.custom_jvp
def _with_derivative(value, exact, valid):
    """The value, with the derivative of exact times valid."""
    return value


@_with_derivative.defjvp
def _with_derivative_jvp(primals, tangents):
    return primals[0], tangents[1] * primals[2]
