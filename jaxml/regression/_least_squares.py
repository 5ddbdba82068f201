"""Least squares by factors of the rows, by the normal equations and by CG."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve

from jaxml._rows import Normal, normal, row, svd, total, with_ones
from jaxml._units import shares_of, unit_of
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.regression import _refined

CALM = 10  # steps for which an estimate of "cg" has to be good


class Solved(NamedTuple):
    """A solution and how far it can be trusted."""

    w: jax.Array  # (n, t)
    b: jax.Array  # (t,)
    cost: jax.Array  # () J
    residual: jax.Array  # () |∂J|
    lost: jax.Array  # () estimated relative error of w


def centred(a, share, intercept: bool):
    """Rows a, (m, …), less their mean, and that mean; 0 without an intercept.

    Far from the origin a mean is rounded; what that leaves is taken off in turn.
    """
    if not intercept:
        return a, jnp.zeros_like(a[0])
    guess = share @ a
    a = a - guess[None]
    correction = share @ a
    a, mean = a - correction[None], guess + correction
    # What is left of a constant is rounding, and not small once it is scaled.
    present = share > 0
    spread = jnp.max(
        jnp.abs(a),
        axis=0,
        where=present if a.ndim == 1 else present[:, None],
        initial=0,
    )
    constant = spread <= 4 * jnp.finfo(a.dtype).eps * jnp.abs(mean)
    return jnp.where(constant[None] if a.ndim > 1 else constant, 0, a), mean


def amid(x, weights):
    """A row from which the others are measured without rounding, (n,), else 0.

    That is so where they differ from it by less than half of it (Sterbenz 1974): in
    columns far from 0, whose part in the condition goes with it.
    """
    present = None if weights is None else weights > 0
    first = row(x, jnp.int32(0) if present is None else jnp.argmax(present))
    distance = jnp.abs(x - first[None])
    if present is not None:
        distance = jnp.where(present[:, None], distance, 0)
    return jnp.where(jnp.max(distance, axis=0) <= jnp.abs(first) / 2, first, 0)


def value_and_gradient(w, b, x, y, weights):
    """J and its gradient in w, (n, t), and b, (t,), in one pass over the rows."""
    theta = jnp.concatenate([w, b[None]])

    def sums(x, y, weights):
        a = with_ones(x)
        r = a @ theta - y
        scaled = r if weights is None else r * weights[:, None]
        return jnp.vdot(scaled, r), scaled.T @ a

    weight = len(x) if weights is None else jnp.sum(weights)
    squares, slope = total(sums, x, y, weights)
    slope = slope.T / weight
    return 0.5 * squares / weight, slope[:-1], slope[-1]


def design(x, weights, intercept: bool):
    """√w [x, 1], (m, p), and √w, (m, 1)."""
    a = with_ones(x, intercept)
    if weights is None:
        return a, jnp.ones_like(x, shape=(len(x), 1))
    root = jnp.sqrt(weights)[:, None]
    return a * root, root


def split(theta, intercept: bool):
    """Give w, (n, t), and b, (t,), of θ, (p, t)."""
    if intercept:
        return theta[:-1], theta[-1]
    return theta, jnp.zeros_like(theta[0])


def by_qr(x, y, weights, intercept: bool) -> Solved:
    """QR of the rows, refined with residuals of twice the precision."""
    origin = amid(x, weights) if intercept else jnp.zeros_like(x[0])
    a, root = design(x - origin[None], weights, intercept)
    factors = _refined.factorise(a)
    theta, r = jax.lax.map(lambda f: _refined.solve(factors, f), (y * root).T)
    lost = jnp.max(jax.vmap(lambda w, r: _lost(factors, w, r))(theta, r))
    w, b = split(theta.T, intercept)
    b = b - origin @ w
    weight = len(x) if weights is None else jnp.sum(weights)
    slope = jnp.linalg.norm(r @ a) / weight
    return Solved(w, b, 0.5 * jnp.sum(r**2) / weight, slope, lost)


def _lost(factors, theta, r):
    """Relative error of θ left by the rounding of data with random signs.

    Wedin (1973): κ + κ² |r| / (σ₁ |θ|) roundings; the second term averages over rows.
    """
    eps = jnp.finfo(r.dtype).eps
    theta = theta * factors.scale
    unit = unit_of(theta)
    size = jnp.linalg.norm(factors.r) * jnp.linalg.norm(theta / unit)
    noise = jnp.linalg.norm(r / unit) / len(r) ** 0.5
    noise = noise / jnp.where(size > 0, size, jnp.inf)
    return eps * factors.condition * (1 + factors.condition * noise)


def by_cholesky(x, y, weights, intercept: bool) -> Solved:
    """The normal equations, once refined with the residuals of the rows."""
    equations = normal(x, y, weights, intercept)
    factors = definite(equations.gram)
    result = refined(equations, factors.solve, 0, x, y, weights, intercept)
    return Solved(*result, factors.lost(far_off(equations, len(x))))


def far_off(equations: Normal, m: int) -> jax.Array:
    """How much more than its share of the spread a value loses to rounding, ().

    What lies at 1000 ± 1 is rounded as 1000; in m rows that averages out.
    """
    spread = jnp.diagonal(equations.gram)
    ratio = equations.mean_x**2 / jnp.where(spread > 0, spread, jnp.inf)
    return jnp.sqrt(jnp.maximum(1, jnp.max(ratio) * len(spread) / m))


def refined(
    equations: Normal, solve, penalty, x, y, weights, intercept: bool
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Solve the equations, once again for what is left over: w, b, J and |∂J|.

    penalty, 0 or (n, 1) or (n, t), is that of ½ w², of which solve knows.
    """
    gram, cross, mean_x, mean_y = equations
    first = solve(cross)
    b = mean_y - mean_x @ first
    value, dw, db = value_and_gradient(first, b, x, y, weights)
    db = db if intercept else 0 * db
    # In w and b + x̄·w the equations have no cross terms.
    slope = dw + penalty * first - jnp.outer(mean_x, db)
    w = first - solve(slope)
    # From here on without the rows: the cost is a parabola, and what is left of its
    # slope is what rounding w has changed.
    step = w - first
    curved = gram @ step + penalty * step
    value += 0.5 * jnp.sum(penalty * first**2) - 0.5 * jnp.vdot(db, db)
    value += jnp.vdot(slope + 0.5 * curved, step)
    return w, b - mean_x @ step - db, value, jnp.linalg.norm(slope + curved)


class Definite(NamedTuple):
    """A positive definite matrix, factorised with a diagonal of ones."""

    factor: jax.Array  # (n, n) Cholesky's, upper
    scale: jax.Array  # (n,) roots of the diagonal
    condition: jax.Array  # () estimated

    def solve(self, right: jax.Array) -> jax.Array:
        """The (n, t) that the matrix takes to right, (n, t)."""
        right = right / self.scale[:, None]
        return cho_solve((self.factor, False), right) / self.scale[:, None]

    def lost(self, far: jax.Array) -> jax.Array:
        """The relative error of a solution that is once refined with residuals.

        It is that of the rows, rounded at random, `far_off` times as much as centred
        ones, and the square of what it was.
        """
        eps = jnp.finfo(self.scale.dtype).eps
        return eps * far * jnp.sqrt(self.condition) + (eps * self.condition) ** 2


def definite(h: jax.Array) -> Definite:
    """Factorise h, (n, n); the condition is NaN where it is not positive definite."""
    scale = jnp.sqrt(jnp.diagonal(h))
    scale = jnp.where(scale > 0, scale, 1)
    h = h / jnp.outer(scale, scale)
    factor, _ = cho_factor(h)
    largest = _largest(lambda v: h @ v, scale)
    inverse = _largest(lambda v: cho_solve((factor, False), v), scale)
    return Definite(factor, scale, largest * inverse)


def _largest(matvec, like):
    """About the largest eigenvalue of a positive matrix, by the power method."""
    v = jnp.cos(1 + jnp.arange(len(like), dtype=like.dtype))  # of no special form

    def step(_, state):
        v, length = state
        v = matvec(v / length)
        return v, jnp.linalg.norm(v)

    return jax.lax.fori_loop(0, 8, step, (v, jnp.linalg.norm(v)))[1]


def by_svd(x, y, weights, intercept: bool) -> Solved:
    """The w of least norm: singular values that are rounding are left out.

    What is rounding is judged with columns of one scale, whatever their units.
    """
    share = shares_of(x, weights)
    root = jnp.sqrt(share)[:, None]
    rows, mean_x = centred(x, share, intercept)
    targets, mean_y = centred(y, share, intercept)
    rows = rows * root
    scale = unit_of(rows, axis=0)
    u, s, vt = svd(rows / scale[None])
    eps = jnp.finfo(x.dtype).eps
    kept = s > eps * max(x.shape) * s[0]
    inverse = jnp.where(kept, 1 / jnp.where(kept, s, 1), 0)
    along = inverse[:, None] * (u.T @ (targets * root))
    w = (vt.T @ along) / scale[:, None]
    unique = kept.all() & (len(s) == x.shape[1])
    # Of many solutions the least in the columns' own units is in the span of the rows.
    span = jnp.linalg.qr(scale[:, None] * vt.T * kept[None])[0] * kept[None]
    w = jnp.where(unique, w, span @ (span.T @ w))
    lost = jnp.where(unique, eps * s[0] / s[-1], jnp.inf)
    b = mean_y - mean_x @ w
    value, dw, db = value_and_gradient(w, b, x, y, weights)
    residual = jnp.sqrt(jnp.sum(dw**2) + intercept * jnp.sum(db**2))
    return Solved(w, b, value, residual, lost)


def by_cg(x, y, weights, intercept: bool, tol: Any, max_iter: int) -> Fit:
    """Conjugate gradients on the normal equations, which are never formed (CGLS).

    Params are (w, b). The residual is an estimate of J less its minimum, relative to J
    plus 100 ε J(0): ½ |s|² / λ for the gradient s, columns scaled, and the least
    curvature λ of a direction so far. It has to be below tol for some steps, in which
    directions of less curvature come to light, and then with the rows themselves.

    Source: Hestenes and Stiefel (1952); Björck (1996), algorithm 7.4.1.
    """
    share = shares_of(x, weights)
    # A centred copy: x·v - x̄·v would lose its digits far from the origin.
    x, mean_x = centred(x, share, intercept)
    y, mean_y = centred(y, share, intercept)
    # In units in which no square under- or overflows.
    of_x, of_y = unit_of(x, weights, axis=0)[:, None], unit_of(y, weights)
    x, y = x / of_x.T, y / of_y
    share = share[:, None]
    squares = share[:, 0] @ (x**2)
    scale = jnp.sqrt(jnp.where(squares > 0, squares, 1))[:, None]
    few = 100 * jnp.finfo(x.dtype).eps

    def forward(v):
        return x @ (v / scale)

    def back(r):
        return ((r * share).T @ x).T / scale

    def cost(r):
        return 0.5 * jnp.sum(share * r**2)

    def excess(r, energy, least):
        gain = 0.5 * jnp.sum(energy / jnp.where(least > 0, least, 1))
        size = cost(r) + few * null
        return gain / jnp.where(size > 0, size, 1)

    def step(state: _Conjugate):
        q = forward(state.p)
        curvature = jnp.sum(share * q**2, axis=0)
        length = state.energy / jnp.where(curvature > 0, curvature, 1)
        v, r = state.v + length[None] * state.p, state.r - length[None] * q
        s = back(r)
        energy = jnp.sum(s**2, axis=0)
        square = jnp.sum(state.p**2, axis=0)
        quotient = curvature / jnp.where(square > 0, square, 1)
        ratio = jnp.where(square > 0, quotient, jnp.inf)
        least = jnp.minimum(state.least, ratio)
        p = s + (energy / jnp.where(state.energy > 0, state.energy, 1))[None] * state.p
        left = excess(r, energy, least)
        calm = jnp.where(left <= tol, state.calm + 1, 0)
        gained = state.gained + 0.5 * jnp.sum(length * state.energy)
        onward = _Conjugate(v, r, s, p, energy, least, calm, gained)
        # What recursion makes of the residual drifts away from it.
        return lax.cond(calm >= CALM, judged, lambda s: (s, below(s, left)), onward)

    def judged(state: _Conjugate):
        r = y - forward(state.v)
        s = back(r)
        energy = jnp.sum(s**2, axis=0)
        # What was gained since such a look is what was left to gain then.
        size = cost(r) + few * null
        before = state.gained / jnp.where(size > 0, size, 1)
        before += excess(state.r, state.energy, state.least)
        left = jnp.minimum(excess(r, energy, state.least), before)
        again = _Conjugate(
            state.v, r, s, s, energy, state.least, jnp.int32(0), jnp.zeros_like(null)
        )
        return again, Progress(cost(r), left, jnp.int32(Status.RUNNING))

    def below(state, left):
        # Not yet known with the rows: no reason to end.
        left = jnp.where(left <= tol, jnp.nextafter(tol, jnp.inf), left)
        return Progress(cost(state.r), left, jnp.int32(Status.RUNNING))

    null = cost(y)
    s = back(y)
    first = jnp.sum(s**2, axis=0)
    far = jnp.full_like(first, jnp.inf)
    state = _Conjugate(
        jnp.zeros_like(s), y, s, s, first, far, jnp.int32(0), jnp.zeros_like(null)
    )
    nothing = jnp.where(jnp.all(first == 0), 0, jnp.inf).astype(null.dtype)
    start = Progress(null, nothing, jnp.int32(Status.RUNNING))
    fit = iterate(step, state, start, tol=tol, max_iter=max_iter, patience=50)
    result = fit.params
    # Where no step is better any more, what is left may be rounding.
    end = judged(result)[1]
    rounding = 16 * jnp.finfo(x.dtype).eps
    at_rounding = (
        (fit.status == Status.STALLED) & (end.residual <= rounding) & (tol > 0)
    )
    status = jnp.where(at_rounding, Status.CONVERGED, fit.status).astype(jnp.int32)
    w = result.v / scale * (of_y / of_x)
    return fit._replace(
        params=(w, mean_y - mean_x @ w),
        cost=end.cost * of_y * of_y,
        residual=jnp.where(result.calm > 0, end.residual, fit.residual),
        status=status,
        history=fit.history * of_y * of_y,
    )


class _Conjugate(NamedTuple):
    """Where conjugate gradients stand, for t targets."""

    v: jax.Array  # (n, t) solution, columns scaled
    r: jax.Array  # (m, t) residuals
    s: jax.Array  # (n, t) minus the gradient
    p: jax.Array  # (n, t) direction
    energy: jax.Array  # (t,) |s|²
    least: jax.Array  # (t,) the least curvature of a direction so far
    calm: jax.Array  # () int32, steps since the estimate is below tol
    gained: jax.Array  # () by how much J has fallen since r was found from the rows
