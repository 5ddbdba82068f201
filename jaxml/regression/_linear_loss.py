"""Minimise Σ wᵢ ℓ(zᵢ, yᵢ) / Σ wᵢ + l2/2 |w|², z = w·x + b, for a convex loss ℓ.

A loss takes z and y, (r,), to ℓ, ∂ℓ/∂z and ∂²ℓ/∂z². All derivatives come from one pass
over the rows. Searches see columns about their means, in units of their spread: what
they find does not depend on the units and origins of x.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml._rows import each, mirrored, total, triangle, with_ones
from jaxml._units import power_of_two, shares
from jaxml.optimize._convex import by_lbfgs, by_newton, dependent
from jaxml.optimize._fit import Fit, Status
from jaxml.regression.linear import Params

RUNAWAY = 0.5  # change of some z in a last step from which there is no minimum
PART = 16  # the share of rows on which a long fit begins
MANY = 32  # columns from which a Hessian costs much more than a gradient
MEDIAN = 4  # steps to the median that outliers make necessary
OUTLIER = 10  # times the mean distance from which one is far away
SAMPLE = 4096  # rows of which the units and origins of the columns are taken
DENSE = 500  # parameters up to which a Hessian tells whether there is a minimum
LOOSE = 3e-3  # the residual from which L-BFGS leaves the rest to them
FORMED = 64  # parameters up to which L-BFGS ends with Hessians, not their products
FEW = 31  # rows whose middle is the origin that all fits to the same rows share


def class_weighted(y, weights, class_weights):
    """Weights of the rows, (m,), times those of their classes; None for none."""
    if class_weights is None:
        return weights
    y = y.astype(class_weights.dtype)
    of_rows = y * class_weights[1] + (1 - y) * class_weights[0]
    return of_rows if weights is None else weights * of_rows


def average(losses, weights):
    """Σ wᵢ ℓᵢ / Σ wᵢ over the rows of losses; 0 where there is no weight at all."""
    if weights is None:
        return jnp.mean(losses, axis=0)
    return shares(weights) @ losses


def fermi(z, y):
    """log(1 + e^z) - y z, the loss of logistic regression, exact also where small.

    A difference of two numbers near 1, or near z, would lose a sure row's digits.
    """
    e = jnp.exp(-jnp.abs(z))
    large = 1 / (1 + e)
    small = e * large
    p, q = jnp.where(z >= 0, large, small), jnp.where(z >= 0, small, large)
    return jax.nn.relu(z) - y * z + jnp.log1p(e), (1 - y) * p - y * q, p * q


def squared_hinge(z, y):
    """max(0, 1 - s z)² with s = 2y - 1; the second derivative is that of one side."""
    s = 2 * y - 1
    short = jax.nn.relu(1 - s * z)
    return short**2, -2 * s * short, 2 * s**2 * (short > 0)


# --- units and origins --------------------------------------------------------------


class Frame(NamedTuple):
    """Origins and units of the columns: x = centre + scale x̃. Constants of a fit."""

    centre: jax.Array  # (n,) about the mean, or the median; 0 without an intercept
    scale: jax.Array  # (n,) the power of two below the spread


def frame_of(x, weights, l2, intercept: bool) -> Frame:
    """Where the columns of x, (m, n), lie, by up to SAMPLE of the rows that count.

    With z = x̃·θ + θ₀ the curvature along each θ is about one, the penalty's included.
    """
    x, weights, l2 = jax.lax.stop_gradient((x, weights, l2))
    if len(x) > SAMPLE:
        some = _scattered(len(x), SAMPLE)
        x, weights = x[some], None if weights is None else weights[some]
    share = None
    if weights is not None:
        share = shares(jnp.where((weights > 0).any(), weights, 1))[:, None]

    def mean(values):  # products with a vector would be slow in a batch
        if share is None:
            return jnp.mean(values, axis=0)
        return jnp.sum(share * values, axis=0)

    def measured(count, centre):
        """With the mean and the largest distance from the centre."""
        away = jnp.abs(x - centre[None])
        farthest = away if share is None else jnp.where(share > 0, away, 0)
        return count, centre, mean(away), jnp.max(farthest, axis=0)

    def median(state):
        """A step from the mean towards it (Weiszfeld 1937): a mean of near rows."""
        count, centre, usual, _ = state
        away = x - centre[None]
        least = jnp.where(usual > 0, 1e-3 * usual, 1)[None]
        pull = 1 / (jnp.abs(away) + least)
        return measured(count + 1, centre + mean(pull * away) / mean(pull))

    def lost(state):
        """Whether an outlier is so far that the others look as if they were one."""
        count, _, usual, most = state
        return intercept & (count < MEDIAN) & (most > OUTLIER * usual).any()

    start = measured(jnp.int32(0), mean(x) if intercept else jnp.zeros_like(x[0]))
    _, centre, usual, most = jax.lax.while_loop(lost, median, start)
    # Between the standard deviation and √m times that, with nothing to overflow.
    spread = jnp.sqrt(usual) * jnp.sqrt(most)
    rounding = 16 * jnp.finfo(x.dtype).eps * jnp.abs(centre)
    spread = jnp.where(spread > rounding, spread, 0)  # 0 for a constant column
    penalised = 2 * jnp.sqrt(jnp.maximum(l2, 0))
    return Frame(centre, power_of_two(jnp.maximum(spread, penalised)))


def origin(x, intercept: bool) -> Frame:
    """An origin that does not depend on the weights, so that fits can share its rows.

    The median of a few rows lies among the others, whatever an outlier holds.
    """
    one, zero = jnp.ones_like(x[0]), jnp.zeros_like(x[0])
    if not intercept:
        return Frame(zero, one)
    some = x if len(x) <= FEW else x[_scattered(len(x), FEW)]
    return Frame(jax.lax.stop_gradient(jnp.median(some, axis=0)), one)


def _scattered(m: int, count: int) -> np.ndarray:
    """Numbers of rows, in no period, (count,), of m: multiples of the golden ratio."""
    return (np.arange(count) * ((5**0.5 - 1) / 2) % 1 * m).astype(np.int32)


def standard(x, frame: Frame) -> jax.Array:
    """x̃, (m, n)."""
    return (x - frame.centre[None]) * (1 / frame.scale)[None]


def some_columns(x, frame: Frame, which) -> jax.Array:
    """Those of [x̃, 1], (m, c), with these numbers, (c,)."""
    n = x.shape[1]
    inside = jnp.minimum(which, n - 1)
    seen_from = Frame(frame.centre[inside], frame.scale[inside])
    return jnp.where(which[None] < n, standard(x[:, inside], seen_from), 1)


def penalties(frame: Frame, l2) -> jax.Array:
    """l2 of each θ, (n,); the factors in an order that does not overflow."""
    unit = 1 / frame.scale
    return l2 * unit * unit


def params_of(theta, frame: Frame, intercept: bool) -> Params:
    """Params of θ, (p,) or (p, k), the intercept last; None for b if there is none."""
    n = len(frame.scale)
    w = theta[:n] / jnp.expand_dims(frame.scale, (1,) * (theta.ndim - 1))
    if not intercept:
        return Params(w, None)
    return Params(w, theta[n] - frame.centre @ w)


def joined(params: Params) -> jax.Array:
    """(w, b), (p,) or (p, k); w alone where b is None."""
    if params.b is None:
        return params.w
    return jnp.concatenate([params.w, params.b[None]])


def moved_origin(derivatives, frame: Frame, near: Frame, intercept: bool):
    """derivatives of rows that are seen from near, as those of θ in the frame."""
    between = Frame(frame.centre - near.centre, frame.scale)

    def of(theta):
        there, back = jax.vjp(lambda t: joined(params_of(t, between, intercept)), theta)
        value, slope = derivatives(there)
        return value, back(slope)[0]

    return of


# --- derivatives --------------------------------------------------------------------


def derivatives(loss, x, y, share, frame: Frame, intercept: bool, hessian: bool):
    """θ, (p,), to J without penalty, its gradient and perhaps its Hessian, in one pass.

    share, (m,), are the weights over their sum, or None.
    """

    def of(theta):
        def sums(x, y, share):
            a = with_ones(standard(x, frame), intercept)
            # θ from the left, so that many θ under vmap come first, as they do in r.
            value, r, h = loss(theta @ a.T, y)
            if share is not None:
                value, r, h = share * value, share * r, share * h
            value = jnp.sum(value)
            if not hessian:
                return value, r @ a
            # One product for both: compiled once, and a is read once.
            right = jnp.concatenate([a * h[:, None], r[:, None]], axis=1)
            return value, triangle(a, right)

        result = total(sums, x, y, share)
        if share is None:
            result = jax.tree.map(lambda s: s / len(x), result)
        value, result = result
        if not hessian:
            return value, result
        result = mirrored(result)
        return value, result[:, -1], result[:, :-1]

    return of


def curvatures(loss, x, y, share, frame: Frame, intercept: bool):
    """θ, (p,), to v, (p,), to the Hessian without penalty times v."""

    def of(theta):
        def sums(v, x, h):
            a = with_ones(standard(x, frame), intercept)
            return (h * (v @ a.T)) @ a

        h = loss_curvatures(loss, x, y, share, frame, intercept, theta)
        return lambda v: total(partial(sums, v), x, h)

    return of


def loss_curvatures(loss, x, y, share, frame: Frame, intercept: bool, theta):
    """The second derivatives of the losses by z, each times its share, (m,)."""

    def second(x, y, share):
        z = theta @ with_ones(standard(x, frame), intercept).T
        h = loss(z, y)[2]
        return h / count if share is None else share * h

    count = len(x)
    return each(second, x, y, share)


def block(loss, x, y, share, frame: Frame, intercept: bool, l2):
    """θ, (p,), to a function of rows, (c,), and columns, (d,): their part of H, (c, d).

    Of the Hessian with the penalty's, for l2 of θ's shape.
    """

    def of(theta):
        def sums(rows, columns, x, h):
            left, right = (some_columns(x, frame, which) for which in (rows, columns))
            return (left * h[:, None]).T @ right

        h = loss_curvatures(loss, x, y, share, frame, intercept, theta)

        def pair(rows, columns):
            same = rows[:, None] == columns[None]
            result = total(partial(sums, rows, columns), x, h)
            return result + jnp.where(same, l2[columns][None], 0)

        return pair

    return of


def framed_curvatures(curvatures, frame: Frame, near: Frame, intercept: bool, l2):
    """curvatures seen from near, as those of θ in the frame, with the penalty's."""
    between = Frame(frame.centre - near.centre, frame.scale)

    def linear(v):
        return joined(params_of(v, between, intercept))

    def of(theta):
        hessian = curvatures(linear(theta))

        def along(v):
            there, back = jax.vjp(linear, v)
            return back(hessian(there))[0] + l2 * v

        return along

    return of


def penalised(derivatives, l2):
    """derivatives with those of Σ l2 θ²/2, for l2 of θ's shape."""

    def of(theta):
        value, slope, *h = derivatives(theta)
        value += 0.5 * jnp.vdot(l2, theta**2)
        return value, slope + l2 * theta, *(a + jnp.diag(l2) for a in h)

    return of


# --- searches -----------------------------------------------------------------------


class Problem(NamedTuple):
    """What the searches need to know of a fit; θ, (p,), is seen in a Frame."""

    light: Callable  # θ to J and its gradient, for many fits to the same rows
    curvatures: Callable  # θ to v, (p,), to the Hessian times v, for the same
    whole: Callable  # θ to J, its gradient and its Hessian
    block: Callable  # θ to which, (c,), and which, (d,), to that part of H, (c, d)
    moves: Callable  # a change of θ to the largest change of z, ()
    start: jax.Array  # (p,)
    most: int  # θ that need not be 0 at a minimum with l1 alone
    bounded: jax.Array  # () bool, whether a penalty holds every weight
    floor: jax.Array  # () a cost below which there is no minimum


def plane(loss, x, y, weights, frame: Frame, l2, intercept, l1=0.0) -> Problem:
    """The Problem of one plane; its penalty is that of l2, but l1 holds weights too."""
    n = x.shape[1]
    share = None if weights is None else shares(weights)
    l2s = jnp.append(penalties(frame, l2), jnp.zeros(intercept, x.dtype))
    near = origin(x, intercept)
    light = derivatives(loss, x, y, share, near, intercept, False)
    whole = derivatives(loss, x, y, share, frame, intercept, True)

    def moves(change):
        # From near: rows in each fit's own frame would be copied for each of many fits.
        between = Frame(frame.centre - near.centre, frame.scale)
        w, b = params_of(change, between, intercept)
        z = standard(x, near) @ w + (0 if b is None else b)
        return jnp.max(seen(jnp.abs(z), weights))

    lowest = jnp.full((), -1.0, x.dtype)
    if loss is fermi:
        goals = jnp.stack([1 - y, y], axis=1)
        lowest = separated(goals, weights, l2 + l1, intercept)
    along = curvatures(loss, x, y, share, near, intercept)
    return Problem(
        penalised(moved_origin(light, frame, near, intercept), l2s),
        framed_curvatures(along, frame, near, intercept, l2s),
        penalised(whole, l2s),
        block(loss, x, y, share, frame, intercept, l2s),
        moves,
        jnp.zeros(n + intercept, x.dtype),
        len(x),
        l2 + l1 > 0,
        lowest,
    )


def separated(goals, weights, l2, intercept: bool) -> jax.Array:
    """A cost below which every row is on its side, so that none is the least, ().

    No loss is then above log 2. goals are probabilities of the classes, (m, k): where
    some are uncertain, or where a penalty holds the weights and there are rows of more
    than one class, so that it holds b too, there is a minimum: -1.
    """
    lightest = jnp.ones((), l2.dtype) / len(goals)
    certain = goals == 1
    if weights is not None:
        share = shares(weights)
        lightest = jnp.min(jnp.where(share > 0, share, 1))
        certain |= (share == 0)[:, None]
    free = (l2 == 0) | (certain.all(axis=0).any() & intercept)
    lowest = 0.99 * jnp.log(jnp.asarray(2, l2.dtype)) * lightest
    return jnp.where(certain.any(axis=1).all() & free, lowest, -1)


def by_hessians(problem: Problem, tol, max_iter: int, begin=None, search=None) -> Fit:
    """Newton's method from begin, or from 0; Fit of θ. search replaces by_newton."""
    search = search or partial(by_newton, problem.whole)
    result = search(
        problem.start if begin is None else begin,
        tol=tol,
        max_iter=max_iter,
        relative=True,
        bounded=problem.bounded,
        floor=problem.floor,
    )
    return ended(problem, result)


def ended(problem: Problem, result: Fit) -> Fit:
    """Fit of θ, UNBOUNDED where the last step, found.params = (θ, direction, …), is."""
    theta, direction, *_ = result.params
    moving = (jnp.abs(direction) > 1e-3 * jnp.abs(theta)).any() & ~problem.bounded
    moved = jax.lax.cond(
        moving, lambda: problem.moves(direction), lambda: jnp.zeros_like(theta[0])
    )
    return result._replace(params=theta, status=runaway(result, moved))


def plane_newton(
    loss, x, y, weights, frame: Frame, l2, intercept, tol, max_iter: int
) -> Fit:
    """Newton's method for one plane, begun on a part of the rows; Fit of θ."""
    options = frame, l2, intercept
    problem = plane(loss, x, y, weights, *options)
    m, n = x.shape
    begin = search = None
    if m > 20 * PART * len(problem.start):
        # Every 16th row, so that sorted rows do no harm: finds θ to about 1/√rows for
        # a 16th of the price, and saves two of six passes.
        few_weights = None if weights is None else weights[::PART]
        few = x[::PART], y[::PART], few_weights
        part = plane(loss, *few, *options)
        near = by_newton(part.whole, part.start, tol=1e-2, max_iter=10, relative=True)
        # Not where it ran away, as a part that can be separated does.
        begin = jnp.where(near.status == Status.CONVERGED, near.params.theta, 0)
        if n >= MANY:  # so near the minimum one Hessian serves several steps
            share = None if weights is None else shares(weights)
            slope = derivatives(loss, x, y, share, frame, intercept, False)
            l2s = jnp.append(penalties(frame, l2), jnp.zeros(intercept, x.dtype))
            search = partial(
                by_newton,
                penalised(slope, l2s),
                hessian=lambda theta: problem.whole(theta)[2],
            )
    return by_hessians(problem, tol, max_iter, begin, search)


def by_gradients(problem: Problem, tol, max_iter: int) -> Fit:
    """L-BFGS, then Newton's steps, of many θ by conjugate gradients; Fit of θ.

    The first tells how far the minimum is only along what it has seen of the curvature,
    and slows down where they do not.
    """
    options: Any = {"max_iter": max_iter, "relative": True, "floor": problem.floor}
    loose = jnp.maximum(tol, LOOSE)
    near = by_lbfgs(problem.light, problem.start, tol=loose, **options)
    ended = (near.status >= Status.UNBOUNDED) | (near.status == Status.EXHAUSTED)

    if len(problem.start) <= FORMED:
        search: Any = partial(by_newton, problem.whole, bounded=True)
    else:
        known = near.params.inverse_product  # of the curvature
        search = partial(
            by_newton, problem.light, product=problem.curvatures, inverse=known
        )
    target = jnp.where(ended, jnp.inf, jnp.asarray(tol, loose.dtype))
    last = search(near.params.theta, tol=target, **options)
    result = last._replace(
        params=last.params.theta,
        residual=jnp.where(ended, near.residual, last.residual),
        steps=near.steps + last.steps,
        status=jnp.where(ended, near.status, last.status),
        history=near.history,
    )
    if len(problem.start) > DENSE:
        return result
    return result._replace(status=_proven(problem, result))


def _proven(problem: Problem, result: Fit) -> jax.Array:
    """The status, as Newton's method would find it where nothing holds the weights."""
    cho_factor, cho_solve = jax.scipy.linalg.cho_factor, jax.scipy.linalg.cho_solve
    asked = ~problem.bounded & (result.status < Status.UNBOUNDED)

    def look(state):
        _, status, start, theta = state
        at_start = problem.whole(start)[2]
        _, slope, h = problem.whole(theta)
        alike = dependent(at_start, cho_factor(at_start)[0])
        direction = cho_solve((cho_factor(h)[0], False), slope)
        away = ~(problem.moves(direction) <= RUNAWAY)
        status = jnp.where(away, Status.UNBOUNDED, status)
        status = jnp.where(alike, Status.SINGULAR, status)
        return jnp.bool_(False), status, start + 1, theta - direction

    # Of one trip or none: under vmap a cond would always look. What it looks at has to
    # change, or XLA would look before the loop.
    state = asked, result.status, problem.start, result.params
    return jax.lax.while_loop(lambda s: s[0], look, state)[1]


def seen(values, weights):
    """The values of rows, (m,), 0 for rows of weight 0."""
    return values if weights is None else jnp.where(weights > 0, values, 0)


def runaway(result: Fit, moved) -> jax.Array:
    """The status, UNBOUNDED where the last step of Newton's method moved a z by moved.

    Where there is no minimum, its steps never cease to move some z by at least 1,
    however small the decrement becomes; at a minimum they do. (What the rows pull with
    shows that there is one as long as no step would turn a pull round.)
    """
    ended = (result.status == Status.CONVERGED) | (result.status == Status.SINGULAR)
    ended |= result.status == Status.STALLED
    away = ended & (result.steps > 1) & (moved > RUNAWAY)
    return jnp.where(away, Status.UNBOUNDED, result.status).astype(jnp.int32)


def without_rows(status, shares) -> jax.Array:
    """The status, UNBOUNDED where a class has no share of rows: its b runs away."""
    away = (shares == 0).any() & (status < Status.UNBOUNDED)
    return jnp.where(away, Status.UNBOUNDED, status).astype(jnp.int32)


def newton(loss, x, y, weights, l2, intercept: bool, tol, max_iter: int) -> Fit:
    """Newton's method for one plane; Fit with Params."""
    frame = frame_of(x, weights, l2, intercept)
    options = frame, l2, intercept
    result = plane_newton(loss, x, y, weights, *options, tol, max_iter)
    return result._replace(params=params_of(result.params, frame, intercept))


def split(theta, n: int) -> Params:
    """(w, b) of θ, (p,) or (p, k); None for b if there is none."""
    return Params(theta[:n], theta[n] if len(theta) > n else None)
