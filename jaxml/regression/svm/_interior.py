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
from jaxml._units import shares
from jaxml.optimize.fit import Fit, Progress, Status, iterate

LOOSE = 1e-3  # the most that rounding may leave of the gap, as a share of the cost
ROUNDINGS = 64  # of z, by which the search may miss the margin
SHORT = 0.995  # the share of the way to the boundary that is taken


class State(NamedTuple):
    """A point inside the box, with all its slacks above 0."""

    theta: jax.Array  # (p,) w, and b if there is one
    a: jax.Array  # (m,) forces
    u: jax.Array  # (m,) slack of a >= 0
    v: jax.Array  # (m,) slack of a <= C


class Plane(NamedTuple):
    """A plane and forces, and how good both are."""

    theta: jax.Array  # (p,)
    a: jax.Array  # (m,)
    residual: jax.Array  # () duality gap over the cost


class Best(NamedTuple):
    """The search, and where its residual was least."""

    now: State
    state: State
    plane: Plane


class Problem(NamedTuple):
    """What does not change."""

    x: jax.Array  # (m, n)
    s: jax.Array  # (m,) signs; 0 for a row that is left out
    most: jax.Array  # (m,) C; 1 for a row that is left out
    target: jax.Array  # (m,) 1; 0 for a row that is left out
    penalty: jax.Array  # (p,) diagonal of P


def fit(x, y, weights, l2, intercept: bool, tol, max_iter: int) -> Fit:
    """Fit with params = (w, b, α), which have derivatives.

    With an intercept x is to be centred: then b, and what rounding leaves of Σ s a, are
    small.
    """
    problem = _problem(*jax.lax.stop_gradient((x, y, weights, l2)), intercept)
    found = _search(problem, tol, max_iter)
    best: Best = found.params
    w, b, alpha = _exact(x, y, weights, l2, intercept, problem, best.state)
    n = x.shape[1]
    # The equations give the last digits too, where the search has told who is who.
    fixed = jax.lax.stop_gradient((jnp.append(w, b), alpha))
    forces = fixed[1] / jnp.where(problem.s == 0, 1, problem.s)
    refined = jnp.clip(forces, 0, problem.most)
    other = _certify(problem, fixed[0], refined)
    better = other.residual < best.plane.residual
    plane = _choose(better, other, best.plane)
    if intercept:  # of one class alone, which no forces can hold
        side = jnp.sign(jnp.sum(problem.s * problem.most))
        flat = jnp.append(jnp.zeros(n, x.dtype), side)
        flat_plane = _certify(problem, flat, 0 * refined)
        plane = _choose(flat_plane.residual < plane.residual, flat_plane, plane)
    theta, a, residual = plane
    # Forces that are only slacks of the search are none.
    a = jnp.where(_out(problem, best.state) & ~better, 0, a)
    left = jnp.minimum(_rounding(problem, best.state, theta), LOOSE)
    goal = jnp.where((tol > 0) & (left > tol), left, tol)
    status = jnp.where(residual <= goal, Status.CONVERGED, found.status)
    valid = jnp.where(status == Status.CONVERGED, 1, jnp.nan).astype(x.dtype)
    b_found = theta[n] if intercept else jnp.zeros((), x.dtype)
    params = tuple(
        _with_derivative(value, exact, valid)
        for value, exact in zip(
            (theta[:n], b_found, problem.s * a), (w, b, alpha), strict=True
        )
    )
    share = 1 / len(x) if weights is None else shares(weights)
    short = jax.nn.relu(1 - (2 * y - 1) * (product(x, params[0]) + params[1]))
    short = jnp.where(problem.target > 0, short, 0)
    cost = jnp.sum(share * short) + 0.5 * l2 * jnp.vdot(params[0], params[0])
    return found._replace(
        params=params,
        cost=cost,
        residual=residual,
        status=status.astype(jnp.int32),
        history=l2 * found.history,
    )


def _choose(better, new, old):
    return jax.tree.map(lambda n, o: jnp.where(better, n, o), new, old)


def _problem(x, y, weights, l2, intercept: bool) -> Problem:
    weights = jnp.ones(len(x), x.dtype) if weights is None else weights
    there = weights > 0
    penalty = jnp.append(jnp.ones(x.shape[1], x.dtype), jnp.zeros(intercept, x.dtype))
    return Problem(
        x,
        jnp.where(there, 2 * y - 1, 0),
        jnp.where(there, shares(weights) / l2, 1),
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

    def step(best: Best):
        theta, a, u, v = best.now
        z, pull = _forward(problem, theta), _back(problem, a)
        slack = most - a
        off_primal = z - target - u + v
        off_dual = penalty * theta - pull
        mu = (jnp.vdot(a, u) + jnp.vdot(slack, v)) / (2 * m)
        inverse = 1 / (u / a + v / slack)
        gram = _gram(problem, inverse)
        scale = 1 / jnp.sqrt(jnp.diagonal(gram))
        # Without the diagonal's share of rounding there is no factor near the end.
        ridge = len(theta) * jnp.finfo(theta.dtype).eps * jnp.eye(len(theta))
        gram = gram * jnp.outer(scale, scale)
        factor = jax.scipy.linalg.cho_factor(gram + ridge.astype(gram.dtype))
        solve = jax.scipy.linalg.cho_solve

        def move(of_u, of_v):
            """The changes that bring a u to a u + of_u, and likewise for v."""
            q = -off_primal + of_u / a - of_v / slack
            right = _back(problem, inverse * q) - off_dual
            first = solve(factor, scale * right)
            rest = scale * right - product(gram, first)
            d_theta = scale * (first + solve(factor, rest))
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
        )
        return _advance(problem, best, state)

    one = jnp.ones_like(most)
    start = State(jnp.zeros_like(penalty), most / 2, one, one)
    begin = Best(start, start, _certify(problem, start.theta, start.a))
    return iterate(step, begin, tol=tol, max_iter=max_iter, patience=10)


def _advance(problem: Problem, best: Best, state: State):
    """Take a state, and judge it; one that is not finite ends the search."""
    sound = jnp.stack([jnp.isfinite(leaf).all() for leaf in state]).all()
    state = _choose(sound, state, best.now)
    plane = _certify(problem, state.theta, state.a)
    better = plane.residual < best.plane.residual
    kept, found = _choose(better, (state, plane), (best.state, best.plane))
    status = jnp.where(sound, Status.RUNNING, Status.STALLED)
    cost = _primal(problem, found.theta)
    return Best(state, kept, found), Progress(cost, found.residual, status)


def _longest(value, change):
    """The step at which some value would reach 0."""
    return jnp.min(jnp.where(change < 0, -value / change, jnp.inf))


def _primal(problem: Problem, theta):
    """J / l2, ()."""
    short = jax.nn.relu(problem.target - _forward(problem, theta))
    most = jnp.where(problem.target > 0, problem.most, 0)
    energy = jnp.vdot(problem.penalty * theta, theta)
    return 0.5 * energy + jnp.vdot(most, short)


def _certify(problem: Problem, theta, a) -> Plane:
    """A plane and forces, and the gap between them over the plane's cost.

    J - D, over l2, is a sum of what is never below 0, ½ |w - Σ a s x|² among it, but
    for b Σ s a: as the difference of two costs it would be lost in their rounding.
    """
    theta = theta[: len(problem.penalty)]
    pull = _back(problem, a)
    rest = _forward(problem, theta) - problem.target
    gap = jnp.sum(jnp.maximum(rest * a, rest * (a - problem.most)))
    gap += 0.5 * jnp.sum(problem.penalty * (theta - pull) ** 2)
    gap += jnp.sum(jnp.abs((1 - problem.penalty) * theta * pull))
    cost = _primal(problem, theta)
    return Plane(theta, a, jnp.where(gap == 0, 0, gap / cost))


def _rounding(problem: Problem, state: State, theta):
    """What rounding leaves of the gap of rows on the margin, over the cost.

    It is that of z, times what the equations of a step lose of it besides.
    """
    n = problem.x.shape[1]
    size = product(jnp.abs(problem.x), jnp.abs(theta[:n])) + jnp.sum(jnp.abs(theta[n:]))
    on = ~_out(problem, state) & (problem.most - state.a > state.v * problem.most)
    noise = jnp.sum(jnp.where(on, size * problem.most, 0))
    return ROUNDINGS * jnp.finfo(noise.dtype).eps * noise / _primal(problem, theta)


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
    most = jnp.where(within, shares(weights) / l2, 0)
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
