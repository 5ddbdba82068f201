"""Minimise Σ wᵢ ℓ(zᵢ, yᵢ) / Σ wᵢ + l2/2 |w|², z = (w·x + b)/T, for a convex loss ℓ.

A loss takes z and y, (r,), to ℓ, ∂ℓ/∂z and ∂²ℓ/∂z². All derivatives come from one pass
over the rows.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxml._rows import mirrored, product, total, triangle, with_ones
from jaxml.optimize.convex import by_lbfgs, by_newton
from jaxml.optimize.fit import Fit, Status
from jaxml.regression.linear import Params

RUNAWAY = 0.1  # change of some z in a last step from which there is no minimum
PART = 16  # the share of rows on which a long fit begins
MANY = 32  # columns from which a Hessian costs much more than a gradient


def class_weighted(y, weights, class_weights):
    """Weights of the rows, (m,), times those of their classes; None for none."""
    if class_weights is None:
        return weights
    y = y.astype(class_weights.dtype)
    of_rows = y * class_weights[1] + (1 - y) * class_weights[0]
    return of_rows if weights is None else weights * of_rows


def shares(weights):
    """wᵢ / Σ w, (m,); 0 where all weights are, as in a batch of rows left out.

    Divided by the largest first: the sum itself may overflow.
    """
    largest = jnp.max(weights)
    weights = weights / jnp.where(largest == 0, 1, largest)
    whole = jnp.sum(weights)
    return weights / jnp.where(whole == 0, 1, whole)


def average(losses, weights):
    """Σ wᵢ ℓᵢ / Σ wᵢ over losses, (m,); 0 where there is no weight at all."""
    return jnp.mean(losses) if weights is None else product(shares(weights), losses)


def fermi(z, y):
    """log(1 + e^z) - y z, the loss of logistic regression."""
    p = jax.nn.sigmoid(z)
    return jax.nn.softplus(z) - y * z, p - y, p * (1 - p)


def squared_hinge(z, y):
    """max(0, 1 - s z)² with s = 2y - 1; the second derivative is that of one side."""
    s = 2 * y - 1
    short = jax.nn.relu(1 - s * z)
    return short**2, -2 * s * short, 2 * s**2 * (short > 0)


def derivatives(loss, x, y, weights, hyper, intercept: bool, hessian: bool):
    """θ = (w, b), (p,), to J, its gradient and perhaps its Hessian, in one pass."""
    n, t = x.shape[1], hyper["temperature"]
    weight = len(x) if weights is None else jnp.sum(weights)
    l2 = hyper["l2"] * jnp.append(jnp.ones(n, x.dtype), jnp.zeros(intercept, x.dtype))

    def of(theta):
        def sums(x, y, weights):
            a = with_ones(x, intercept)
            # θ from the left, so that many θ under vmap come first, as they do in r.
            value, r, h = loss(product(theta, a.T) / t, y)
            if weights is not None:
                value, r, h = weights * value, weights * r, weights * h
            value = jnp.sum(value)
            if not hessian:
                return value, product(r / t, a)
            # One product for both: compiled once, and a is read once.
            right = jnp.concatenate([a * (h / t**2)[:, None], (r / t)[:, None]], axis=1)
            return value, triangle(a, right)

        value, found = jax.tree.map(lambda s: s / weight, total(sums, x, y, weights))
        value += 0.5 * jnp.vdot(l2, theta**2)
        if not hessian:
            return value, found + l2 * theta
        found = mirrored(found)
        return value, found[:, -1] + l2 * theta, found[:, :-1] + jnp.diag(l2)

    return of


def newton(loss, x, y, weights, hyper, intercept: bool, tol, max_iter: int) -> Fit:
    """Newton's method, begun on a part of the rows; Fit with Params."""
    m, n = x.shape
    theta = jnp.zeros(n + intercept, x.dtype)
    data = loss, x, y, weights, hyper, intercept
    search = partial(by_newton, derivatives(*data, True))
    if m > 20 * PART * len(theta):
        # Every 16th row, so that sorted rows do no harm: finds θ to about 1/√rows for
        # a 16th of the price, and saves two of six passes.
        few_weights = None if weights is None else weights[::PART]
        part = derivatives(
            loss, x[::PART], y[::PART], few_weights, hyper, intercept, True
        )
        few = by_newton(part, theta, tol=1e-2, max_iter=10)
        # Not where it ran away, as a part that can be separated does.
        theta = jnp.where(few.status == Status.CONVERGED, few.params.theta, theta)
        if n >= MANY:  # so near the minimum one Hessian serves several steps
            hessian = lambda theta: derivatives(*data, True)(theta)[2]
            search = partial(by_newton, derivatives(*data, False), hessian=hessian)
    found = search(theta, tol=tol, max_iter=max_iter)
    theta, direction, *_ = found.params
    moving = (jnp.abs(direction) > 1e-3 * jnp.abs(theta)).any()
    step = split(direction, n)
    moved = jax.lax.cond(
        moving,
        lambda: jnp.max(seen(_moves(step, x), weights)) / hyper["temperature"],
        lambda: jnp.zeros((), x.dtype),
    )
    return found._replace(params=split(theta, n), status=runaway(found, moved))


def _moves(step: Params, x):
    return jnp.abs(product(x, step.w) + (0 if step.b is None else step.b))


def seen(values, weights):
    """The values of rows, (m,), 0 for rows of weight 0."""
    return values if weights is None else jnp.where(weights > 0, values, 0)


def runaway(found: Fit, moved) -> jax.Array:
    """The status, UNBOUNDED where the last step of Newton's method moved a z by moved.

    Where there is no minimum, its steps never cease to move some z by about 1, however
    small the decrement becomes; at a minimum they do.
    """
    ended = (found.status == Status.CONVERGED) | (found.status == Status.SINGULAR)
    away = ended & (found.steps > 1) & (moved > RUNAWAY)
    return jnp.where(away, Status.UNBOUNDED, found.status).astype(jnp.int32)


def separable(found: Fit, margins, weights, l2) -> jax.Array:
    """The status, UNBOUNDED where every row lies on its side of a plane and l2 = 0."""
    right = margins > 0 if weights is None else (margins > 0) | (weights == 0)
    away = right.all() & (l2 == 0) & (found.status < Status.UNBOUNDED)
    return jnp.where(away, Status.UNBOUNDED, found.status).astype(jnp.int32)


def without_rows(status, shares) -> jax.Array:
    """The status, UNBOUNDED where a class has no share of rows: its b runs away."""
    away = (shares == 0).any() & (status < Status.UNBOUNDED)
    return jnp.where(away, Status.UNBOUNDED, status).astype(jnp.int32)


def lbfgs(loss, x, y, weights, hyper, intercept: bool, tol, max_iter: int) -> Fit:
    """L-BFGS; Fit with Params."""
    n = x.shape[1]
    theta = jnp.zeros(n + intercept, x.dtype)
    whole = derivatives(loss, x, y, weights, hyper, intercept, False)
    found = by_lbfgs(whole, theta, tol=tol, max_iter=max_iter)
    params = split(found.params.theta, n)
    z = product(x, params.w) + (0 if params.b is None else params.b)
    margins = jnp.where((y == 0) | (y == 1), (2 * y - 1) * z, 0)
    status = separable(found, margins, weights, hyper["l2"])
    return found._replace(params=params, status=status)


def split(theta, n: int) -> Params:
    """Params of θ = (w, b), or of w alone with None for b."""
    return Params(theta[:n], theta[n] if len(theta) > n else None)
