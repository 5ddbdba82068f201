"""J = Σ wᵢ ℓ(zᵢ, yᵢ) / Σ wᵢ + l2/2 |w|², z = w·x + b, for a convex loss ℓ.

Its derivatives come from those of ℓ by z in one pass over the rows. θ = (w, b) is (p,),
or (p, k) for k planes, in a Frame; searches see it raveled.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml._rows import each, mirrored, total, triangle, with_ones
from jaxml._units import shares
from jaxml.regression._frame import (
    Frame,
    joined,
    origin,
    params_of,
    penalties,
    predictor,
    some_columns,
    split,
    standard,
)


class Loss(NamedTuple):
    """A convex loss of z, (r,), or (r, k) for k planes, and y, by its derivatives."""

    value: Callable  # z, y -> ℓ, (r,), which JAX can differentiate
    # z, y, w, (r,) or None for 1 -> w ℓ, w ∂ℓ/∂z, and w ∂²ℓ/∂z² as a tuple C of rows
    derivatives: Callable
    # y -> (r, c): where one of these has no share of the rows, b runs away
    classes: Any = None
    separable: bool = False  # whether classes may lie on two sides of a plane
    # C, v -> w ∂²ℓ/∂z² v, like z
    curve: Callable = lambda curvature, v: curvature[0] * v
    # of k planes: C -> d, u, v with w ∂²ℓ/∂z_c² = d_c and w ∂²ℓ/∂z_c∂z_d = - u_c v_d
    pairs: Any = None
    gauge: bool = False  # whether the same may be added to all z of a row


def one_plane(derivatives: Callable) -> Callable:
    """Loss.derivatives of z, y to ℓ, ∂ℓ/∂z, ∂²ℓ/∂z², (r,) each."""

    def weighted(z, y, w):
        value, gradient, curvature = derivatives(z, y)
        if w is None:
            return value, gradient, (curvature,)
        return w * value, w * gradient, (w * curvature,)

    return weighted


@one_plane
def _fermi(z, y):
    """A difference of two numbers near 1, or near z, would lose a sure row's digits."""
    e = jnp.exp(-jnp.abs(z))
    large = 1 / (1 + e)
    small = e * large
    p, q = jnp.where(z >= 0, large, small), jnp.where(z >= 0, small, large)
    return jax.nn.relu(z) - y * z + jnp.log1p(e), (1 - y) * p - y * q, p * q


@one_plane
def _squared_hinge(z, y):
    """With the second derivative of one side."""
    s = 2 * y - 1
    short = jax.nn.relu(1 - s * z)
    return short**2, -2 * s * short, 2 * s**2 * (short > 0)


def _log_loss(z, y):
    """y log(1 + e^-z) + (1-y) log(1 + e^z), (r,): exact also where it is small."""
    return y * jax.nn.softplus(-z) + (1 - y) * jax.nn.softplus(z)


def _hinge_square(z, y):
    return jax.nn.relu(1 - (2 * y - 1) * z) ** 2


@jax.custom_jvp
def _half_deviance(z, y):
    """e^z - y + y log(y/e^z), as y (e^d - 1 - d) with d = z - log y.

    A difference would lose a good fit's digits; where d is small it is a series.
    """
    d = z - jnp.log(jnp.where(y == 0, 1, y))
    series = d**2 * (0.5 + d * (1 / 6 + d * (1 / 24 + d / 120)))
    excess = jnp.where(jnp.abs(d) < 1e-2, series, jnp.expm1(d) - d)
    return jnp.where(y == 0, jnp.exp(z), y * excess)


@_half_deviance.defjvp
def _half_deviance_jvp(primals, tangents):
    (z, y), (d_z, d_y) = primals, tangents
    least = -jnp.finfo(z.dtype).max  # for log 0: ∞ · 0 is not wanted
    log_y = jnp.where(y == 0, least, jnp.log(jnp.where(y == 0, 1, y)))
    return _half_deviance(z, y), (jnp.exp(z) - y) * d_z + (log_y - z) * d_y


@one_plane
def _poisson(z, y):
    mean = jnp.exp(z)
    d = z - jnp.log(jnp.where(y == 0, 1, y))
    return _half_deviance(z, y), jnp.where(y == 0, mean, y * jnp.expm1(d)), mean


def _softmax(z, y, w):
    """C are the masses w Σ_c y_c, (r,), and the chances p, (r, k)."""
    w = jnp.ones_like(z[:, 0]) if w is None else w
    p, mass = jax.nn.softmax(z, axis=1), jnp.sum(y, axis=1)
    # 1 - p and p - y as sums of the others, for the digits of sure rows.
    gradient = w[:, None] * (p * (mass[:, None] - y) - y * _others(p))
    return w * _cross_entropy(z, y), gradient, (w * mass, p)


def _others(p):
    """1 - p as the sum of the other chances."""
    return p @ (1 - jnp.eye(p.shape[1], dtype=p.dtype))


def _cross_entropy(z, y):
    """-Σ_c y_c log p_c, (r,)."""
    return -jnp.sum(y * jax.nn.log_softmax(z, axis=1), axis=1)


def _softmax_curve(curvature, v):
    mass, p = curvature
    return mass[:, None] * p * (v - jnp.sum(p * v, axis=1, keepdims=True))


def _softmax_pairs(curvature):
    mass, p = curvature
    u = mass[:, None] * p
    return u * _others(p), u, p


LOGISTIC = Loss(
    _log_loss, _fermi, lambda y: jnp.stack([1 - y, y], axis=1), separable=True
)
SQUARED_HINGE = Loss(_hinge_square, _squared_hinge)
POISSON = Loss(_half_deviance, _poisson, lambda y: y[:, None])
SOFTMAX = Loss(
    _cross_entropy,
    _softmax,
    lambda y: y,
    separable=True,
    curve=_softmax_curve,
    pairs=_softmax_pairs,
    gauge=True,
)


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


def cost(loss: Loss, free, theta, x, y, weights, frame: Frame, *, l2):
    """J of θ in a frame; of planes with a gauge, those of θ[free] are held at sum 0."""
    params = split(theta, x.shape[1])
    value = average(loss.value(predictor(params, standard(x, frame)), y), weights)
    squares = params.w**2
    squares = squares if squares.ndim == 1 else jnp.sum(squares, axis=1)
    value += 0.5 * jnp.vdot(penalties(frame, l2), squares)
    if loss.gauge:
        value += 0.5 * jnp.sum(jnp.sum(theta[free], axis=1) ** 2)
    return value


# --- derivatives --------------------------------------------------------------------


class Design(NamedTuple):
    """The rows of a fit."""

    loss: Loss
    x: jax.Array  # (m, n)
    y: jax.Array  # (m,) or (m, k)
    share: jax.Array | None  # (m,) weights over their sum; None for 1/m
    intercept: bool


def _planes(theta, a):
    """z of the rows of a, (r, p)."""
    # θ from the left, so that many θ under vmap come first, as they do in z.
    return theta @ a.T if theta.ndim == 1 else a @ theta


def derivatives(design: Design, frame: Frame, hessian: bool) -> Callable:
    """θ to J without penalty, its gradient, and perhaps its Hessian, (p·k, p·k)."""
    loss, x, y, share, intercept = design

    def spread(a, factors):
        return (a[:, :, None] * factors[:, None]).reshape(len(a), -1)

    def of(theta):
        def sums(x, y, share):
            a = with_ones(standard(x, frame), intercept)
            value, r, curvature = loss.derivatives(_planes(theta, a), y, share)
            value = jnp.sum(value)
            if not hessian:  # xᵀr would be slower than rᵀx: turned outside the loop
                return value, r.T @ a
            if loss.pairs is None:
                # One product for both: compiled once, and a is read once.
                both = [a * curvature[0][:, None], r[:, None]]
                return value, triangle(a, jnp.concatenate(both, axis=1))
            d, u, v = loss.pairs(curvature)
            apart = spread(a, u).T @ spread(a, v)
            return value, r.T @ a, spread(a, d).T @ a, apart

        result = total(sums, x, y, share)
        if share is None:
            result = jax.tree.map(lambda s: s / len(x), result)
        value, result, *h = result
        if not hessian:
            return value, result.T
        if loss.pairs is None:
            result = mirrored(result)
            return value, result[:, -1], result[:, :-1]
        p, k = theta.shape
        same = jnp.eye(k, dtype=bool)[None, :, None]
        h = jnp.where(same, h[0].reshape(p, k, p, 1), -h[1].reshape(p, k, p, k))
        return value, result.T, h.reshape(p * k, p * k)

    return of


def _curvatures(design: Design, frame: Frame, theta):
    """The second derivatives of the losses by z, with their shares."""
    loss, x, y, share, intercept = design

    def second(x, y, share):
        z = _planes(theta, with_ones(standard(x, frame), intercept))
        return loss.derivatives(z, y, share)[2]

    share = jnp.full_like(x[:, 0], 1 / len(x)) if share is None else share
    return each(second, x, y, share)


def hessian_product(design: Design, frame: Frame) -> Callable:
    """θ to v, like θ, to the Hessian without penalty times v."""

    def of(theta):
        def sums(v, x, *curvature):
            a = with_ones(standard(x, frame), design.intercept)
            return design.loss.curve(curvature, _planes(v, a)).T @ a

        curvature = _curvatures(design, frame, theta)
        return lambda v: total(partial(sums, v), design.x, *curvature).T

    return of


def hessian_block(design: Design, frame: Frame, l2) -> Callable:
    """θ to a function of rows, (c,), and columns, (d,): their part of H, (c, d).

    Of raveled θ, with the penalty's part, for l2 of that shape, and the gauge's of b.
    """
    loss, x, y, _, _ = design

    def of(theta):
        k = theta[0].size

        def sums(rows, columns, x, *curvature):
            left, right = (some_columns(x, frame, at // k) for at in (rows, columns))
            if loss.pairs is None:
                return (left * curvature[0][:, None]).T @ right
            d, u, v = loss.pairs(curvature)
            c, e = rows % k, columns % k
            alike = (left * d[:, c]).T @ right
            apart = (left * u[:, c]).T @ (right * v[:, e])
            return jnp.where(c[:, None] == e[None], alike, -apart)

        curvature = _curvatures(design, frame, theta)

        def part(rows, columns):
            h = total(partial(sums, rows, columns), x, *curvature)
            rows, columns = rows[:, None], columns[None]
            h += jnp.where(rows == columns, l2[columns], 0)
            if not loss.gauge:
                return h
            size = jnp.sum(loss.pairs(curvature)[0]) / k
            of_b = (rows >= x.shape[1] * k) & (columns >= x.shape[1] * k)
            return h + jnp.where(of_b, size, 0)

        return part

    return of


# --- what a search needs ------------------------------------------------------------


class Problem(NamedTuple):
    """What the searches need to know of a fit; θ is raveled, and seen in a Frame."""

    light: Callable  # θ to J and its gradient, for many fits to the same rows
    product: Callable  # θ to v to the Hessian times v, for the same
    whole: Callable  # θ to J, its gradient and its Hessian
    block: Callable  # θ to which, (c,), and which, (d,), to that part of H, (c, d)
    moves: Callable  # a change of θ to the largest change of z, ()
    start: jax.Array  # 0
    most: int  # θ that need not be 0 at a minimum with l1 alone
    bounded: jax.Array  # () bool, whether a penalty holds every weight
    floor: jax.Array  # () a cost below which there is no minimum


def problem(
    loss: Loss, x, y, weights, frame: Frame, l2, intercept: bool, l1=None, k=None
) -> Problem:
    """The Problem of one plane, or of k; its penalty is l2's, but l1 holds w too."""
    n, m = x.shape[1], len(x)
    p = n + intercept
    shape = (p,) if k is None else (p, k)
    share = None if weights is None else shares(weights)
    design = Design(loss, x, y, share, intercept)
    l2s = jnp.append(penalties(frame, l2), jnp.zeros(intercept, x.dtype))
    l2s = l2s if k is None else jnp.repeat(l2s, k)
    # Rows in each fit's own frame would be copied for each of many fits.
    near = origin(x, intercept)
    between = Frame(frame.centre - near.centre, frame.scale)

    def of_near(theta):
        return joined(params_of(theta, between, intercept))

    light = derivatives(design, near, False)
    product = hessian_product(design, near)
    block = hessian_block(design, frame, l2s)

    def moved_light(theta):
        there, back = jax.vjp(of_near, theta.reshape(shape))
        value, gradient = light(there)
        return penalised(value, even(back(gradient)[0]), theta)

    def moved_product(theta):
        hessian = product(of_near(theta.reshape(shape)))

        def times(v):
            there, back = jax.vjp(of_near, v.reshape(shape))
            return even(back(hessian(there))[0]) + l2s * v

        return times

    def even(gradient):
        """Freed of what a common change of all planes would do: it slows L-BFGS."""
        if loss.gauge:
            gradient -= jnp.mean(gradient, axis=1, keepdims=True)
        return gradient.ravel()

    def moves(change):
        params = params_of(change.reshape(shape), between, intercept)
        z = jnp.abs(predictor(params, standard(x, near)))
        return jnp.max(_seen(z if k is None else jnp.max(z, axis=1), weights))

    every = derivatives(design, frame, True)

    def penalised(value, gradient, theta):
        return value + 0.5 * jnp.vdot(l2s, theta**2), gradient + l2s * theta

    def whole(theta):
        value, gradient, h = every(theta.reshape(shape))
        value, gradient = penalised(value, gradient.ravel(), theta)
        h += jnp.diag(l2s)
        if loss.gauge:  # to add the same to all costs as much as to add it to one
            size = jnp.mean(jnp.diagonal(h).reshape(shape), axis=1)
            # What l1 holds need not be held by more.
            size = jnp.where(jnp.arange(p) >= (0 if l1 is None else n), size, 0)
            h += jnp.kron(jnp.diag(size), jnp.ones((k, k), h.dtype))
        return value, gradient, h

    held = l2 if l1 is None else l2 + l1
    lowest = jnp.full((), -1, x.dtype)
    if loss.separable:
        lowest = separated(loss.classes(y), weights, held, intercept)
    return Problem(
        moved_light,
        moved_product,
        whole,
        lambda theta: block(theta.reshape(shape)),
        moves,
        jnp.zeros(l2s.shape, x.dtype),
        m * (k or 1),
        held > 0,
        lowest,
    )


def separated(classes, weights, held, intercept: bool) -> jax.Array:
    """A cost below which every row is on its side, so that none is the least, ().

    No loss is then above log 2. classes are probabilities of the classes, (m, k): where
    some are uncertain, or where a penalty holds the weights and there are rows of more
    than one class, so that it holds b too, there is a minimum: -1.
    """
    lightest = jnp.ones((), held.dtype) / len(classes)
    certain = classes == 1
    if weights is not None:
        share = shares(weights)
        lightest = jnp.min(jnp.where(share > 0, share, 1))
        certain |= (share == 0)[:, None]
    free = (held == 0) | (certain.all(axis=0).any() & intercept)
    lowest = 0.99 * jnp.log(jnp.asarray(2, held.dtype)) * lightest
    return jnp.where(certain.any(axis=1).all() & free, lowest, -1)


def _seen(values, weights):
    """The values of rows, (m,), 0 for rows of weight 0."""
    return values if weights is None else jnp.where(weights > 0, values, 0)
