"""The searches: coordinate descent on a processor, accelerated descent elsewhere.

With few columns the normal equations are formed once. With many only the products of a
growing set of columns are, and every column is looked at once per step.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve

from jaxml._rows import normal
from jaxml._units import relative, shares_of, unit_of
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.optimize._single_kernel import descend, padded
from jaxml.optimize.proximal import accelerate
from jaxml.regression._least_squares import centred
from jaxml.regression.lasso import _penalty

SWEEPS = 100  # the most sweeps over the coordinates in one step
PATIENCE = 10  # steps without any improvement after which precision is used up
ADDED = 32  # columns that join the set in one step, at most
SPARE = 256  # places of the set beyond those that a lasso can use
CAPACITY = 2048  # the most columns whose products are formed
NARROW = 512  # up to so many columns all products are formed, however few the rows
ROUNDING = 4  # ε of the sum |G| |w| below which a violation is rounding
ROUNDS = 6  # of accelerated descent, each with a tenth of the tolerance
CLOSER = 0.3  # how far below tol the changes of a last sweep are


class Gram(NamedTuple):
    """All that the cost needs of the data: ½ wᵀ gram w - crossᵀ w + energy / 2."""

    gram: jax.Array  # (n, n)
    cross: jax.Array  # (n,)
    energy: jax.Array  # () Σ wᵢ (yᵢ - ȳ)² / Σ wᵢ


class Columns(NamedTuple):
    """The data themselves, centred and each row times √(wᵢ / Σ w)."""

    x: jax.Array  # (n, m), a column of the data in a row
    y: jax.Array  # (m,)
    cross: jax.Array  # (n,) x y


class Rule(NamedTuple):
    """What is asked for."""

    limits: jax.Array  # (n,) of the blocks
    l2: jax.Array  # ()
    groups: Any  # (n,) int labels, or None
    tol: jax.Array  # ()


def along(x, y, weights, limits, l2, groups, tol, *, intercept, **options) -> Fit:
    """Fits of w, (p, n), for limits, (p, n), each begun where the one before ended.

    The options are positive, max_iter and history_length, the length of the history.
    They are found in units of y in which no square under- or overflows.
    """
    weights = relative(weights)
    y, _ = centred(y, shares_of(x, weights), intercept)
    unit = unit_of(y, weights, axis=0)
    result = _along(
        x, y / unit, weights, limits / unit, l2, groups, tol, intercept, **options
    )
    return result._replace(
        params=result.params * unit,
        cost=result.cost * unit * unit,
        history=result.history * unit * unit,
    )


def _along(x, y, weights, limits, l2, groups, tol, intercept, **options) -> Fit:
    m, n = x.shape
    if n <= NARROW or n <= min(m, CAPACITY):
        result = normal(x, y[:, None], weights, intercept)
        energy = jnp.vdot(shares_of(x, weights) * y, y)
        gram = Gram(result.gram, result.cross[:, 0], energy)

        def solve(w, limits):
            fit = on_gram(gram, w, Rule(limits, l2, groups, tol), **options)
            return fit.params, fit

        return lax.scan(solve, jnp.zeros(n, x.dtype), limits)[1]

    columns = _columns(x, y, weights, intercept)
    elsewhere: Any = partial(_along_data, **options)
    if groups is not None:
        return elsewhere(columns, limits, l2, groups, tol)
    # Sets of their own for a whole batch would take too much memory: one by one.
    here = jax.custom_batching.sequential_vmap(partial(_along_sets, **options))
    return lax.platform_dependent(
        columns, limits, l2, groups, tol, cpu=here, default=elsewhere
    )


def _columns(x, y, weights, intercept) -> Columns:
    share = shares_of(x, weights)
    x, _ = centred(x, share, intercept)
    x, y = (x * jnp.sqrt(share)[:, None]).T, y * jnp.sqrt(share)
    return Columns(x, y, x @ y)


def _along_data(columns, limits, l2, groups, tol, **options) -> Fit:
    def solve(w, limits):
        fit = on_data(columns, w, Rule(limits, l2, groups, tol), **options)
        return fit.params, fit

    return lax.scan(solve, jnp.zeros_like(columns.cross), limits)[1]


def _along_sets(columns, limits, l2, groups, tol, **options) -> Fit:
    def solve(chosen, limits):
        rule = Rule(limits, l2, groups, tol)
        fit = on_columns(columns, chosen, rule, **options)
        return fit.params, fit._replace(params=spread(fit.params))

    return lax.scan(solve, begin(columns), limits)[1]


def _scale(cross, rule: Rule):
    """What changes are compared with: the largest pull at w = 0."""
    largest = jnp.max(_penalty.sizes(cross, rule.groups, False))
    return jnp.where(largest == 0, 1, largest)


def _residual(w, left, own, energy, cross, rule: Rule, positive: bool, loose_gain):
    """How far the cost is above its minimum, relative to that at w = 0.

    Or the largest violation of a condition, relative to the largest pull, if that is
    more: the gap alone lets a column wait that is to take part. loose_gain(which, pull)
    estimates the gap of coordinates that no penalty holds.
    """
    limits, l2, groups, _ = rule
    gap = _penalty.gap(w, left, own, limits, l2, groups, positive)
    loose, pull = _penalty.free(w, left, limits, l2, groups, positive)
    gap += lax.cond(
        loose.any(), lambda: loose_gain(loose, pull), lambda: jnp.zeros_like(gap)
    )
    gap = 2 * gap / jnp.where(energy > 0, energy, 1)
    pull = left - l2 * w
    worst = _penalty.violations(pull, w, limits, groups, positive).max()
    return jnp.maximum(gap, worst / _scale(cross, rule))


# --- few columns --------------------------------------------------------------------


def on_gram(data: Gram, w, rule: Rule, **options) -> Fit:
    """A Fit of w, (n,), from w; residual is `_residual`."""
    elsewhere: Any = partial(_accelerated, **options)
    if rule.groups is not None:
        return elsewhere(data, w, rule)
    return lax.platform_dependent(
        data, w, rule, cpu=partial(_sweeps, **options), default=elsewhere
    )


def _judge(data: Gram, w, rule: Rule, positive: bool):
    """Progress at w, and the residual correlation."""
    left = data.cross - data.gram @ w
    cost = 0.5 * (data.energy - jnp.vdot(w, data.cross + left - rule.l2 * w))
    cost += _penalty.value(w, rule.limits, rule.groups)
    own = jnp.maximum(data.energy - jnp.vdot(w, data.cross + left), 0)
    residual = _residual(
        w, left, own, data.energy, data.cross, rule, positive, partial(_newton, data)
    )
    return Progress(cost, residual), left


def _newton(data: Gram, loose, pull):
    """½ pᵀG⁻¹p over loose coordinates, (): what one step of Newton would gain."""
    some = loose & (jnp.diagonal(data.gram) > 0)
    scale = jnp.sqrt(jnp.where(some, jnp.diagonal(data.gram), 1))
    both = (some[:, None] & some[None]) / jnp.outer(scale, scale)
    trace = 4 * len(pull) * jnp.finfo(pull.dtype).eps
    factor = cho_factor(data.gram * both + jnp.diag(jnp.where(some, trace, 1 + trace)))
    pull = jnp.where(some, pull, 0) / scale
    return 0.5 * jnp.vdot(pull, cho_solve(factor, pull))


def _within_rounding(data: Gram, w, left, rule: Rule, positive: bool):
    """Whether no condition of a minimum is violated but by what rounding of G w is."""
    pull = left - rule.l2 * w
    wrong = _penalty.violations(pull, w, rule.limits, rule.groups, positive)
    size = jnp.abs(data.gram) @ jnp.abs(w) + jnp.abs(data.cross)
    return (wrong <= ROUNDING * jnp.finfo(w.dtype).eps * size).all()


def _alone(square, w, loose, pull):
    """The same where no G is formed: as if each w were about as large as it will be."""
    square = jnp.where(square > 0, square, 1)
    most = 2 * jnp.abs(w) + jnp.abs(pull) / square
    return jnp.sum(jnp.where(loose, most * jnp.abs(pull), 0))


def _sweeps(data: Gram, w, rule: Rule, *, positive, max_iter, history_length) -> Fit:
    n, size = len(w), padded(len(w))
    scale = _scale(data.cross, rule)
    gram = jnp.pad(data.gram, (0, size - n))
    limits = jnp.pad(rule.limits, (0, size - n))

    def step(state):
        w, left, inner = state
        result = descend(
            gram,
            jnp.pad(left, (0, size - n)),
            jnp.pad(w, (0, size - n)),
            limits,
            rule.l2,
            jnp.int32(n),
            inner,
            sweeps=SWEEPS,
            positive=positive,
        )
        w = result.w[:n]
        progress, left = _judge(data, w, rule, positive)
        settled = _within_rounding(data, w, left, rule, positive)
        settled &= (progress.residual <= 10 * rule.tol) & (rule.tol > 0)
        status = jnp.where(settled, Status.CONVERGED, Status.RUNNING)
        progress = progress._replace(status=status.astype(jnp.int32))
        # What small changes have not mended needs smaller ones.
        inner = jnp.where(result.sweeps < SWEEPS, 0.1, 1) * inner
        return (w, left, inner), progress

    start, left = _judge(data, w, rule, positive)
    start = start._replace(status=jnp.int32(Status.RUNNING))
    fit = iterate(
        step,
        (w, left, CLOSER * rule.tol * scale),
        start,
        tol=rule.tol,
        max_iter=max_iter,
        patience=PATIENCE,
        history_length=history_length,
    )
    return fit._replace(params=fit.params[0])


def _accelerated(
    data: Gram, w, rule: Rule, *, positive, max_iter, history_length
) -> Fit:
    def smooth(w):
        curved = data.gram @ w + rule.l2 * w
        return 0.5 * (data.energy + jnp.vdot(w, curved)) - jnp.vdot(data.cross, w)

    return _by_acceleration(
        smooth, lambda w: _judge(data, w, rule, positive)[0], w, rule,
        scale=_scale(data.cross, rule), positive=positive, max_iter=max_iter,
        history_length=history_length,
    )  # fmt: skip


def _by_acceleration(
    smooth, judge, w, rule, *, scale, positive, max_iter, history_length
):
    """A Fit of w by accelerated descent, none if w is good enough.

    It ends by the size of its steps: these are to be smaller until the gap is.
    """

    def descend(w, tol):
        return accelerate(
            smooth,
            lambda w, step: _penalty.prox(w, step, rule.limits, rule.groups, positive),
            lambda w: _penalty.value(w, rule.limits, rule.groups),
            w,
            tol=tol,
            max_iter=max_iter,
            history_length=history_length,
        )

    def more(state):
        fit, end, _, rounds = state
        going = (fit.status <= Status.STALLED) & (fit.status != Status.EXHAUSTED)
        return (end.residual > rule.tol) & going & (rounds < ROUNDS)

    def again(state):
        before, _, inner, rounds = state
        fit = descend(before.params.params, inner)
        fit = fit._replace(steps=fit.steps + before.steps)
        return fit, judge(fit.params.params), 0.1 * inner, rounds + 1

    start = judge(w)
    tol = jnp.where(start.residual <= rule.tol, jnp.inf, rule.tol * scale)
    fit = descend(w, tol)
    state = fit, judge(fit.params.params), 0.1 * rule.tol * scale, jnp.int32(1)
    fit, end, _, _ = lax.while_loop(more, again, state)
    done = (end.residual <= rule.tol) & (fit.status <= Status.STALLED)
    worse = jnp.maximum(fit.status, Status.EXHAUSTED)
    status = jnp.where(done, Status.CONVERGED, worse)
    return fit._replace(
        params=fit.params.params, residual=end.residual, status=status.astype(jnp.int32)
    )


# --- many columns -------------------------------------------------------------------


class Chosen(NamedTuple):
    """The columns that take part, in the order in which they came; w of the others."""

    which: jax.Array  # (c,) int32; the first `used` of them are in use
    used: jax.Array  # () int32
    inside: jax.Array  # (n,) bool, whether a column takes part
    x: jax.Array  # (c, m) these columns
    gram: jax.Array  # (c, c) their products
    w: jax.Array  # (c,)
    rest: jax.Array  # (n,) w of the others: 0 unless there are too few places
    target: jax.Array  # (m,) y without what the others explain
    pull: jax.Array  # (n,) what is left of the correlation of every column with y
    inner: jax.Array  # () where the next descent ends


def begin(data: Columns) -> Chosen:
    """No column takes part yet."""
    n, m = data.x.shape
    size, dtype = padded(min(n, m + SPARE, CAPACITY)), data.x.dtype
    return Chosen(
        jnp.zeros(size, jnp.int32),
        jnp.int32(0),
        jnp.zeros(n, bool),
        jnp.zeros((size, m), dtype),
        jnp.zeros((size, size), dtype),
        jnp.zeros(size, dtype),
        jnp.zeros(n, dtype),
        data.y,
        data.cross,
        jnp.zeros((), dtype),
    )


def spread(chosen: Chosen) -> jax.Array:
    """w of all columns, (n,)."""
    return chosen.rest.at[chosen.which].add(chosen.w)


def on_columns(
    data: Columns, chosen: Chosen, rule: Rule, *, positive, max_iter, history_length
) -> Fit:
    """A Fit of Chosen, from the columns chosen before."""
    scale = _scale(data.cross, rule)
    energy = jnp.vdot(data.y, data.y)

    def judge(chosen: Chosen, left) -> Progress:
        w, own = spread(chosen), jnp.vdot(left, left)
        cost = 0.5 * (own + rule.l2 * jnp.vdot(w, w))
        cost += _penalty.value(w, rule.limits, None)

        def alone(loose, pull):
            return _alone(jnp.sum(data.x**2, axis=1), w, loose, pull)

        return Progress(
            cost,
            _residual(w, chosen.pull, own, energy, data.cross, rule, positive, alone),
        )

    def step(chosen: Chosen):
        before = chosen.used
        chosen = _join(data, chosen, rule, positive)
        valid = jnp.arange(len(chosen.which)) < chosen.used
        result = descend(
            chosen.gram,
            jnp.where(valid, chosen.pull[chosen.which], 0),
            chosen.w,
            rule.limits[chosen.which],
            rule.l2,
            chosen.used,
            chosen.inner,
            sweeps=SWEEPS,
            positive=positive,
        )
        left = chosen.target - result.w @ chosen.x
        same = (chosen.used == before) & (result.sweeps < SWEEPS)
        # What small changes have not mended needs smaller ones.
        inner = jnp.where(same, 0.1, 1) * chosen.inner
        chosen = chosen._replace(w=result.w, pull=data.x @ left, inner=inner)
        return chosen, judge(chosen, left)

    chosen = chosen._replace(inner=CLOSER * rule.tol * scale)
    return iterate(
        step,
        chosen,
        judge(chosen, chosen.target - chosen.w @ chosen.x),
        tol=rule.tol,
        max_iter=max_iter,
        patience=PATIENCE,
        history_length=history_length,
    )


def _join(data: Columns, chosen: Chosen, rule: Rule, positive: bool) -> Chosen:
    """The columns that most violate their conditions join, a few at a time."""
    size, n = len(chosen.which), len(chosen.rest)
    pull = chosen.pull - rule.l2 * chosen.rest
    wrong = _penalty.violations(pull, chosen.rest, rule.limits, None, positive)
    # At a lower threshold than these conditions the set would be flooded.
    excess, new = lax.top_k(jnp.where(chosen.inside, -1, wrong), ADDED)
    if size < n:
        wanted = jnp.minimum(jnp.sum(excess > 0), size // 2)
        # Of one trip or none: a cond would copy the arrays each time.
        chosen = lax.while_loop(lambda c: c.used + wanted > size, _leave, chosen)
    place = chosen.used + jnp.arange(ADDED)
    joins = (excess > 0) & (place < size)
    place = jnp.where(joins, place, size)  # out of bounds: nothing is written
    other = jnp.where(joins, new, n)
    x_new, w_new = data.x[new], jnp.where(joins, chosen.rest[new], 0)
    x = chosen.x.at[place].set(x_new, mode="drop")
    block = x_new @ x.T
    gram = chosen.gram.at[place].set(block, mode="drop")
    return chosen._replace(
        which=chosen.which.at[place].set(new.astype(jnp.int32), mode="drop"),
        used=chosen.used + jnp.sum(joins).astype(jnp.int32),
        inside=chosen.inside.at[other].set(True, mode="drop"),
        x=x,
        gram=gram.at[:, place].set(block.T, mode="drop"),
        w=chosen.w.at[place].set(w_new, mode="drop"),
        rest=chosen.rest.at[other].set(0, mode="drop"),
        target=chosen.target + w_new @ x_new,
    )


def _leave(chosen: Chosen) -> Chosen:
    """Columns whose w is 0 make room; where few are, also the half that came first."""
    size, n = len(chosen.which), len(chosen.rest)
    position = jnp.arange(size)
    stays = chosen.w != 0
    crowded = jnp.sum(stays) > size - ADDED
    stays &= ~crowded | (position >= size // 2)
    order = jnp.argsort(~stays, stable=True)
    used = jnp.sum(stays).astype(jnp.int32)
    first = position < used
    gone = jnp.where(stays, 0, chosen.w)
    return chosen._replace(
        which=jnp.where(first, chosen.which[order], 0),
        used=used,
        inside=jnp.zeros(n, bool)
        .at[jnp.where(stays, chosen.which, n)]
        .set(True, mode="drop"),
        x=jnp.where(first[:, None], chosen.x[order], 0),
        gram=chosen.gram[order[:, None], order[None]],
        w=jnp.where(first, chosen.w[order], 0),
        rest=chosen.rest.at[chosen.which].add(gone),
        target=chosen.target - gone @ chosen.x,
    )


def on_data(data: Columns, w, rule: Rule, *, positive, max_iter, history_length) -> Fit:
    """A Fit of w, (n,), from w, by accelerated descent over all columns."""

    def smooth(w):
        left = data.y - w @ data.x
        return 0.5 * (jnp.vdot(left, left) + rule.l2 * jnp.vdot(w, w))

    energy = jnp.vdot(data.y, data.y)

    def judge(w):
        r = data.y - w @ data.x
        own, left = jnp.vdot(r, r), data.x @ r
        cost = 0.5 * (own + rule.l2 * jnp.vdot(w, w))
        cost += _penalty.value(w, rule.limits, rule.groups)

        def alone(loose, pull):
            return _alone(jnp.sum(data.x**2, axis=1), w, loose, pull)

        return Progress(
            cost, _residual(w, left, own, energy, data.cross, rule, positive, alone)
        )

    return _by_acceleration(
        smooth, judge, w, rule, scale=_scale(data.cross, rule), positive=positive,
        max_iter=max_iter, history_length=history_length,
    )  # fmt: skip
