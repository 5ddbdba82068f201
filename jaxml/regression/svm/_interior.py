"""The hinge by a primal-dual interior point: equations of (w, b), not of the rows.

With z̃ᵢ = sᵢ (xᵢ, 1), P = diag(1 … 1, 0), targets tᵢ and bounds C_i, for two classes 1
and wᵢ / (l2 Σw), the minimum of ½ θᵀPθ + τ b + Σ C_i max(0, tᵢ - z̃ᵢ·θ) has dual
variables 0 <= a <= C with P θ + τ e_b = Σ aᵢ z̃ᵢ, and slacks u, v >= 0 with z̃ᵢ·θ - tᵢ =
uᵢ - vᵢ, aᵢ uᵢ = 0 and (C_i - aᵢ) vᵢ = 0. Newton's method on these, with the products
held at a falling μ, needs one weighted Gram matrix a step.

Source: Mehrotra (1992) for the two solves of a step; Ferris and Munson (2002).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxml._rows import mirrored, total, triangle, with_ones
from jaxml.optimize._fit import Fit, Progress, Status, iterate

SHORT = 0.995  # the share of the way to the boundary that is taken


class PrimalDual(NamedTuple):
    """A point inside the box, with all its slacks above 0, and how good it is."""

    theta: jax.Array  # (p,) w, and b if there is one
    a: jax.Array  # (m,) dual variables
    u: jax.Array  # (m,) slack of a >= 0
    v: jax.Array  # (m,) slack of a <= C
    excess: jax.Array  # (m,) z̃·θ - t
    theta_dual: jax.Array  # (p,) Σ a z̃ - τ e_b
    cost: jax.Array  # () J / l2
    residual: jax.Array  # () duality gap over the cost


class Best(NamedTuple):
    """The search, and where its residual was least."""

    now: PrimalDual
    state: PrimalDual


class Hinge(NamedTuple):
    """What does not change."""

    x: jax.Array  # (m, n)
    s: jax.Array  # (m,) signs; 0 for a row that is left out
    cap: jax.Array  # (m,) C; 1 for a row that is left out
    target: jax.Array  # (m,) t; 0 for a row that is left out
    penalty: jax.Array  # (p,) diagonal of P
    total: jax.Array  # () τ, what Σ s a is to be; 0 without an intercept
    unit: jax.Array  # () the size of scores near the margin


def _forward(hinge: Hinge, theta):
    """z̃ · θ, (m,)."""
    n = hinge.x.shape[1]
    z = hinge.x @ theta[:n]
    return hinge.s * (z + theta[n] if len(theta) > n else z)


def _back(hinge: Hinge, rows):
    """Σ rᵢ z̃ᵢ, (p,)."""
    rows = rows * hinge.s
    of_w = rows @ hinge.x
    wide = len(hinge.penalty) > hinge.x.shape[1]
    return jnp.append(of_w, jnp.sum(rows)) if wide else of_w


def _gram(hinge: Hinge, inverse):
    """P + Σ z̃ z̃ᵀ / E, (p, p), in one pass over the rows."""
    wide = len(hinge.penalty) > hinge.x.shape[1]

    def sums(x, scaled):
        a = with_ones(x, wide)
        return triangle(a, a * scaled[:, None])

    result = mirrored(total(sums, hinge.x, hinge.s**2 * inverse))
    return result + jnp.diag(hinge.penalty)


def search(hinge: Hinge, tol, max_iter: int) -> Fit:
    """Fit of Best, until the duality gap is no more than tol of the cost."""
    cap, penalty = hinge.cap, hinge.penalty
    m = len(cap)

    def step(best: Best):
        theta, a, u, v, excess, theta_dual, *_ = best.now
        slack = cap - a
        off_primal = excess - u + v
        off_dual = penalty * theta - theta_dual
        mu = (jnp.vdot(a, u) + jnp.vdot(slack, v)) / (2 * m)
        inverse = 1 / (u / a + v / slack)
        gram = _gram(hinge, inverse)
        scale = 1 / jnp.sqrt(jnp.diagonal(gram))
        # Without the diagonal's share of rounding there is no factor near the end.
        ridge = len(theta) * jnp.finfo(theta.dtype).eps * jnp.eye(len(theta))
        gram = gram * jnp.outer(scale, scale)
        factor = jax.scipy.linalg.cho_factor(gram + ridge.astype(gram.dtype))
        solve = jax.scipy.linalg.cho_solve

        def move(of_u, of_v):
            """The changes that bring a u to a u + of_u, and likewise for v."""
            q = -off_primal + of_u / a - of_v / slack
            right = _back(hinge, inverse * q) - off_dual
            first = solve(factor, scale * right)
            left = scale * right - gram @ first
            d_theta = scale * (first + solve(factor, left))
            d_z = _forward(hinge, d_theta)
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
            predicted = jnp.vdot(a + primal * d_a, u + dual * d_u)
            predicted += jnp.vdot(slack - primal * d_a, v + dual * d_v)
            centre = (predicted / (2 * m) / mu) ** 3 * mu
            return centre - a * u - d_a * d_u, centre - slack * v + d_a * d_v, moved

        # First straight to the boundary, then with the products drawn to what that
        # could not have reached: a loop of two, so that a move is compiled once.
        one = jnp.ones_like(mu)
        none = (0 * theta, 0 * a, 0 * u, 0 * v, 0 * excess), (one, one)
        first = -a * u, -slack * v, none
        moved = jax.lax.fori_loop(0, 2, improve, first)[2]
        (d_theta, d_a, d_u, d_v, d_z), (primal, dual) = moved
        return _advance(
            hinge,
            best,
            theta + dual * d_theta,
            a + primal * d_a,
            u + dual * d_u,
            v + dual * d_v,
        )

    far = jnp.broadcast_to(hinge.unit, cap.shape)
    start = _assessed(hinge, jnp.zeros_like(penalty), cap / 2, far, far)
    begin = Best(start, start)
    return iterate(step, begin, tol=tol, max_iter=max_iter, patience=10)


def _advance(hinge: Hinge, best: Best, *point):
    """Take a point, and judge it; one that is not finite ends the search."""
    sound = jnp.stack([jnp.isfinite(leaf).all() for leaf in point]).all()
    now = optax.tree.where(sound, _assessed(hinge, *point), best.now)
    result = optax.tree.where(now.residual < best.state.residual, now, best.state)
    status = jnp.where(sound, Status.RUNNING, Status.STALLED)
    return Best(now, result), Progress(result.cost, result.residual, status)


def _longest(value, change):
    """The step at which some value would reach 0."""
    return jnp.min(jnp.where(change < 0, -value / change, jnp.inf))


def _assessed(hinge: Hinge, theta, a, u, v) -> PrimalDual:
    """With the gap over the cost, or over ½ |w|² if τ is not 0.

    J - D, over l2, is a sum of what is never below 0, ½ |w - Σ a s x|² among it, but
    for b Σ s a: as the difference of two costs it would be lost in their rounding.
    """
    shift = (1 - hinge.penalty) * hinge.total
    excess = _forward(hinge, theta) - hinge.target
    theta_dual = _back(hinge, a) - shift
    energy = 0.5 * jnp.vdot(hinge.penalty * theta, theta)
    cap = jnp.where(hinge.s != 0, hinge.cap, 0)
    cost = energy + jnp.vdot(cap, jax.nn.relu(-excess)) + jnp.vdot(shift, theta)
    gap = jnp.sum(jnp.maximum(excess * a, excess * (a - hinge.cap)))
    gap += 0.5 * jnp.sum(hinge.penalty * (theta - theta_dual) ** 2)
    gap += jnp.sum(jnp.abs((1 - hinge.penalty) * theta * theta_dual))
    size = jnp.where(hinge.total == 0, cost, energy)
    residual = jnp.where(gap == 0, 0, gap / size)
    return PrimalDual(theta, a, u, v, excess, theta_dual, cost, residual)


def inactive(hinge: Hinge, state: PrimalDual):
    """Rows beyond the margin, whose dual variable vanishes as the search goes on."""
    return (state.a / hinge.cap <= state.u / hinge.unit) | (hinge.s == 0)
