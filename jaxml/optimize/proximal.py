"""Minimise a smooth cost and a penalty with kinks: proximal operators, and their loop.

The proximal operator of a penalty Ω is prox(p, s) = argmin_q Ω(q) + |q - p|² / 2s: a
step down the cost, then prox, is a step down both. Each operator here stands next to
its penalty: l1_prox and l1_penalty.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxml import _check
from jaxml._check import Array, Count, NonNegative, Scalar, Static
from jaxml.optimize import _groups
from jaxml.optimize._fit import Fit, Progress, iterate
from jaxml.optimize._implicit import kinked_solution
from jaxml.optimize._solver import names_of_each

__all__ = [
    "Point",
    "accelerate",
    "box_prox",
    "elastic_net_penalty",
    "elastic_net_prox",
    "group_penalty",
    "group_prox",
    "l1_penalty",
    "l1_prox",
    "nonnegative_prox",
    "proximal",
]

PATIENCE = 500  # steps without any improvement: cycles of the momentum may be long
GUESSES = 4  # products with the Hessian that make a first guess of the curvature


class Point(NamedTuple):
    """Where accelerated descent stands."""

    params: Any  # x, the last point that was reached
    curvature: jax.Array  # () L, the inverse of the step
    ahead: Any  # y, x carried on by its momentum
    value: jax.Array  # () the smooth cost at y
    grad: Any  # its gradient at y
    momentum: jax.Array  # () t
    progress: Progress  # cost and residual at x


# --- operators and penalties --------------------------------------------------------


@_check.pure
def l1_prox(params: Any, step: Scalar, *, l1: NonNegative, factors: Any = None) -> Any:
    """sign(p) max(|p| - s l1 f, 0), of l1 Σ f |p|: p is drawn to 0 and may stay there.

    params is a pytree of p; step is s, (); l1 a scalar; factors a pytree of f like
    params, its leaves of the same shapes or scalars, 1 if None.
    """
    scaled = _times(_scalar(step) * l1, params, factors)
    return jax.tree.map(_shrink, params, scaled)


@_check.pure
def l1_penalty(params: Any, *, l1: NonNegative, factors: Any = None) -> jax.Array:
    """l1 Σ f |p|, (). params, l1 and factors as in l1_prox.

    Its derivative is l1 f sgn(p) with sgn(0) = 0, so that a weight at 0 is left there.
    """
    each = _times(l1, params, factors)
    # JAX takes the derivative of |p| at 0 to be 1.
    return _sum(lambda p, f: f * (jnp.sign(p) * p), params, each)


@_check.pure
def elastic_net_prox(
    params: Any,
    step: Scalar,
    *,
    l1: NonNegative,
    l2: NonNegative,
    factors: Any = None,
) -> Any:
    """sign(p) max(|p| - s l1 f, 0) / (1 + s l2), of l1 Σ f |p| + l2/2 Σ p².

    params is a pytree of p; step is s, (); l1 and l2 are scalars; factors are of l1
    alone, as in l1_prox. Source: Zou and Hastie (2005).
    """
    shrunk = l1_prox(params, step, l1=l1, factors=factors)
    return jax.tree.map(lambda p: p / (1 + _scalar(step) * l2), shrunk)


@_check.pure
def elastic_net_penalty(
    params: Any, *, l1: NonNegative, l2: NonNegative, factors: Any = None
) -> jax.Array:
    """l1 Σ f |p| + l2/2 Σ p², (). Arguments as in elastic_net_prox."""
    squares = _sum(lambda p: p**2, params)
    return l1_penalty(params, l1=l1, factors=factors) + 0.5 * l2 * squares


@_check.pure
def group_prox(
    params: Annotated[Array, "n"],
    step: Scalar,
    *,
    l1: NonNegative,
    groups: Annotated[Array, "n:labels"],
    factors: Annotated[Array, "n"] | None = None,
) -> jax.Array:
    """p_g max(1 - s l1 c_g / |p_g|, 0), (n,), of l1 Σ_g c_g |p_g|: groups vanish whole.

    params are p, (n,); step is s, (); l1 a scalar. groups, (n,), are labels below n
    that say which group an entry is in; NaN where one is not below n. c_g is √Σ f² over
    the group, the root of its size where factors f, (n,), are None.

    Source: Yuan and Lin (2006).
    """
    length = _groups.norms(params, groups)
    limit = _scalar(step) * l1 * _groups.factors(groups, factors, params.dtype)
    safe = jnp.where(length > 0, length, 1)
    kept = jnp.where(length > limit, 1 - limit / safe, 0 * limit)
    return params * kept[groups]


@_check.pure
def group_penalty(
    params: Annotated[Array, "n"],
    *,
    l1: NonNegative,
    groups: Annotated[Array, "n:labels"],
    factors: Annotated[Array, "n"] | None = None,
) -> jax.Array:
    """l1 Σ_g c_g |p_g|, (). params, (n,), and the others as in group_prox."""
    return l1 * jnp.vdot(
        _groups.factors(groups, factors, params.dtype), _groups.norms(params, groups)
    )


@_check.pure
def nonnegative_prox(
    params: Any, step: Scalar, *, l1: NonNegative = 0.0, factors: Any = None
) -> Any:
    """max(p - s l1 f, 0), of p >= 0 and l1 Σ f p; the projection where l1 is 0.

    params is a pytree of p; step is s, (); l1 a scalar; factors as in l1_prox.
    """
    scaled = _times(_scalar(step) * l1, params, factors)
    return jax.tree.map(lambda p, f: jax.nn.relu(p - f), params, scaled)


@_check.pure
def box_prox(params: Any, step: Scalar, *, low: Any = None, high: Any = None) -> Any:
    """min(max(p, low), high), the projection on a box, whatever the step.

    params is a pytree of p; step is (); low and high are pytrees like params, or one
    scalar for all, or None for no bound.
    """
    _scalar(step)
    for name, bound, clip in (("low", low, jnp.maximum), ("high", high, jnp.minimum)):
        if bound is not None:
            params = jax.tree.map(clip, params, _like(name, bound, params))
    return params


def _scalar(step):
    """A step, or the ValueError that says it is none."""
    if not jax.tree_util.all_leaves([step]) or jnp.ndim(step):
        raise ValueError(f"step must be a scalar, not {step!r}")
    _check.finite("step", step)
    return step


def _shrink(p, by):
    return jnp.sign(p) * jax.nn.relu(jnp.abs(p) - by)


def _times(scale, params, factors):
    """A pytree like params of scale times the factors, 1 each if None."""
    if factors is None:
        return jax.tree.map(lambda p: scale, params)
    like = _like("factors", factors, params)
    return jax.tree.map(lambda p, f: scale * f, params, like)


def _like(name: str, tree, params):
    """A pytree like params, or scalars in its place; a single leaf is for every one."""
    if jax.tree_util.all_leaves([tree]):
        tree = jax.tree.map(lambda p: tree, params)
    forms = [jax.tree.map(lambda _: 0, each) for each in (tree, params)]
    if forms[0] != forms[1]:
        raise ValueError(f"{name} must be a pytree like params, or one for all")
    for each, p in zip(jax.tree.leaves(tree), jax.tree.leaves(params), strict=True):
        if jnp.shape(each) not in ((), p.shape):
            raise ValueError(f"{name} has shape {jnp.shape(each)}, not {p.shape} or ()")
    return tree


def _sum(function, *trees):
    terms = jax.tree.map(lambda *a: jnp.sum(function(*a)), *trees)
    return sum(jax.tree.leaves(terms))


# --- the loop -----------------------------------------------------------------------


@_check.fit
def proximal(
    cost: Static[Callable[..., jax.Array]],
    prox: Static[Callable[..., Any]],
    params: Any,
    *data: Any,
    penalty: Static[Callable[..., jax.Array] | None] = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 1000,
    **hyper: Any,
) -> Fit:
    """Minimise cost(params, *data, **hyper) + penalty(params, **hyper) from params.

    Args:
        cost: the smooth part, a scalar; static, as in optimize.minimize.
        prox: prox(params, step, **hyper), the proximal operator of the penalty, such as
            l1_prox; static.
        params: where to start, a pytree of floats; the start itself gets no derivative.
        data: pytrees of arrays of any shape.
        penalty: its value, a scalar, such as l1_penalty; static. None for 0, as it is
            where prox is a projection.
        tol: () stop when the residual is at most tol.
        max_iter: the most steps, those counted whose length was refused.
        hyper: scalars, or arrays; traced. Each function gets those that it takes by
            name.

    Returns:
        A Fit. residual is L |x - y|, where the last step went from y to x with length
        1/L: the norm of the gradient, where there are no kinks. Its params have
        derivatives with respect to data and hyper: those of the exact minimum.

    Raises:
        ValueError: an argument of the wrong kind, or values that are not finite.
        TypeError: a hyper-parameter that none of the functions takes.

    Source: Beck and Teboulle (2009); restarts: O'Donoghue and Candès (2015).

    """
    names = names_of_each("proximal", (cost, prox, penalty), hyper)

    def of(which, hyper):
        return {name: hyper[name] for name in which}

    def smooth(params, data, hyper):
        return cost(params, *data, **of(names[0], hyper))

    def nearest(params, step, hyper):
        return prox(params, step, **of(names[1], hyper))

    def kinks(params, hyper):
        if penalty is None:
            return 0.0
        return penalty(params, **of(names[2], hyper))

    fixed, constants = jax.lax.stop_gradient((data, hyper))
    _check.scalar("cost", jax.eval_shape(smooth, params, fixed, constants))
    _check.like("prox", jax.eval_shape(nearest, params, 1.0, constants), params)
    if penalty is not None:
        _check.scalar("penalty", jax.eval_shape(kinks, params, constants))
    fit = accelerate(
        lambda p: smooth(p, fixed, constants),
        lambda p, step: nearest(p, step, constants),
        lambda p: kinks(p, constants),
        jax.lax.stop_gradient(params),
        tol=tol,
        max_iter=max_iter,
    )
    point = fit.params
    step = 1 / point.curvature
    result, value = kinked_solution(
        smooth, nearest, kinks, point.params, fit.cost, fit.status, step, data, hyper
    )
    return fit._replace(params=result, cost=value)


@_check.host
def accelerate(
    smooth: Callable[[Any], jax.Array],
    prox: Callable[[Any, Any], Any],
    penalty: Callable[[Any], Any],
    params: Any,
    *,
    tol: NonNegative,
    max_iter: int,
    history_length: int | None = None,
) -> Fit:
    """The loop of `proximal`, for use inside jit: Fit.params is the last Point.

    smooth(p) and penalty(p) are scalars, prox(p, step) is like p. params, tol and
    max_iter are those of `proximal`, history_length is that of `iterate`; nothing here
    has derivatives.
    """
    evaluate = jax.value_and_grad(smooth)
    vdot = optax.tree.vdot

    def measure(curvature, ahead, grad):
        trial = prox(
            jax.tree.map(lambda y, g: y - g / curvature, ahead, grad), 1 / curvature
        )
        move = optax.tree.sub(trial, ahead)
        return trial, move, curvature * optax.tree.norm(move)

    def step(point: Point) -> tuple[Point, Progress]:
        curvature, ahead = point.curvature, point.ahead
        trial, move, residual = measure(curvature, ahead, point.grad)
        new = smooth(trial)
        rise = 0.5 * curvature * vdot(move, move)
        bound = point.value + vdot(point.grad, move) + rise
        slack = 10 * jnp.finfo(new.dtype).eps * jnp.abs(new)
        lower = new <= bound + slack
        measurable = lower & (rise > 100 * slack)
        gain = optax.tree.sub(trial, point.params)
        restarts = (vdot(move, gain) < 0) | ~lower
        momentum = jnp.where(restarts, 1, 0.5 + jnp.sqrt(0.25 + point.momentum**2))
        weight = jnp.where(restarts, 0, (point.momentum - 1) / momentum)
        extrapolated = jax.tree.map(
            lambda x, d: x + weight.astype(x.dtype) * d, trial, gain
        )
        value, grad = evaluate(extrapolated)
        # Near the minimum rounding hides how the cost changes, but not its gradient.
        distance = optax.tree.norm(optax.tree.sub(extrapolated, ahead))
        secant = optax.tree.norm(optax.tree.sub(grad, point.grad)) / _safe(distance)
        accepted = lower | ((secant <= curvature) & jnp.isfinite(new))
        # A longer step is tried where the search turned back and the cost can tell.
        next_ = jnp.where(restarts & measurable, 0.5, 1) * curvature
        next_ = jnp.where(lower & ~measurable, jnp.maximum(next_, secant), next_)
        result = Point(
            trial,
            next_.astype(curvature.dtype),
            extrapolated,
            value,
            grad,
            momentum.astype(value.dtype),
            Progress(new + penalty(trial), residual),
        )
        refused = point._replace(curvature=2 * curvature)
        result = optax.tree.where(accepted, result, refused)
        return result, result.progress

    value, grad = evaluate(params)
    curvature = _curvature(smooth, params, grad)
    residual = measure(curvature, params, grad)[2]
    start = Progress(value + penalty(params), residual)
    one = jnp.ones((), value.dtype)
    point = Point(params, curvature, params, value, grad, one, start)
    return iterate(
        step,
        point,
        start,
        tol=tol,
        max_iter=max_iter,
        patience=PATIENCE,
        history_length=history_length,
    )


def _curvature(smooth, params, grad) -> jax.Array:
    """About the largest eigenvalue of the Hessian at params, not above it; else 1."""
    gradient = jax.grad(smooth)

    def product(_, v):
        length = _safe(optax.tree.norm(v))
        v = jax.tree.map(lambda a: a / length.astype(a.dtype), v)
        return jax.jvp(gradient, (params,), (v,))[1]

    flat = optax.tree.norm(grad) == 0
    v = jax.tree.map(lambda g: jnp.where(flat, 1, g), grad)
    return _safe(optax.tree.norm(jax.lax.fori_loop(0, GUESSES, product, v)))


def _safe(length) -> jax.Array:
    return jnp.where((length > 0) & jnp.isfinite(length), length, 1)
