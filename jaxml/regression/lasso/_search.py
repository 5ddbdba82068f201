"""The searches: coordinate descent on a processor, accelerated descent elsewhere.

With few columns the normal equations are formed once. With many only the products of a
growing set of columns are, and every column is looked at once per step.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxml._rows import normal
from jaxml._units import relative, shares_of, unit_of
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.optimize._quadratic import solve_among
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
    energy: jax.Array  # () y y


class Terms(NamedTuple):
    """The penalty terms, and the tolerance."""

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
        return _along_w(on_gram, gram, limits, l2, groups, tol, **options)

    columns = _columns(x, y, weights, intercept)
    elsewhere: Any = partial(_along_w, on_data, **options)
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
    return Columns(x, y, x @ y, jnp.vdot(y, y))


def _along_w(search, data, limits, l2, groups, tol, **options) -> Fit:
    def solve(w, limits):
        fit = search(data, w, Terms(limits, l2, groups, tol), **options)
        return fit.params, fit

    return lax.scan(solve, jnp.zeros_like(data.cross), limits)[1]


def _along_sets(columns, limits, l2, groups, tol, **options) -> Fit:
    def solve(active, limits):
        terms = Terms(limits, l2, groups, tol)
        fit = on_columns(columns, active, terms, **options)
        return fit.params, fit._replace(params=all_w(fit.params))

    return lax.scan(solve, empty(columns), limits)[1]


def _scale(cross, terms: Terms):
    """What changes are compared with: the largest correlation at w = 0."""
    largest = jnp.max(_penalty.sizes(cross, terms.groups, False))
    return jnp.where(largest == 0, 1, largest)


def _residual(w, corr, rr, data, terms: Terms, positive: bool, free_gain):
    """How far the cost is above its minimum, relative to that at w = 0.

    Or the largest violation of a condition, relative to the largest correlation,
    if that is more: the gap alone lets a column wait that is to take part.
    free_gain(which, corr) estimates the gap of coordinates without a penalty.
    """
    limits, l2, groups, _ = terms
    gap = _penalty.gap(w, corr, rr, limits, l2, groups, positive)
    free, those = _penalty.free(w, corr, limits, l2, groups, positive)
    gap += lax.cond(
        free.any(), lambda: free_gain(free, those), lambda: jnp.zeros_like(gap)
    )
    gap = 2 * gap / jnp.where(data.energy > 0, data.energy, 1)
    descent = corr - l2 * w
    worst = _penalty.violations(descent, w, limits, groups, positive).max()
    return jnp.maximum(gap, worst / _scale(data.cross, terms))


# --- few columns --------------------------------------------------------------------


def on_gram(data: Gram, w, terms: Terms, **options) -> Fit:
    """A Fit of w, (n,), from w; residual is `_residual`."""
    elsewhere: Any = partial(_accelerated, **options)
    if terms.groups is not None:
        return elsewhere(data, w, terms)
    return lax.platform_dependent(
        data, w, terms, cpu=partial(_sweeps, **options), default=elsewhere
    )


def _progress(data: Gram, w, terms: Terms, positive: bool):
    """Progress at w, and the correlation of the columns with the residual."""
    corr = data.cross - data.gram @ w
    cost = 0.5 * (data.energy - jnp.vdot(w, data.cross + corr - terms.l2 * w))
    cost += _penalty.value(w, terms.limits, terms.groups)
    rr = jnp.maximum(data.energy - jnp.vdot(w, data.cross + corr), 0)

    def gain(free, corr):
        """½ cᵀG⁻¹c over free coordinates, (): what one step of Newton would gain."""
        return 0.5 * jnp.vdot(corr, solve_among(data.gram, free, corr))

    return Progress(cost, _residual(w, corr, rr, data, terms, positive, gain)), corr


def _within_rounding(data: Gram, w, corr, terms: Terms, positive: bool):
    """Whether no condition of a minimum is violated but by what rounding of G w is."""
    descent = corr - terms.l2 * w
    wrong = _penalty.violations(descent, w, terms.limits, terms.groups, positive)
    size = jnp.abs(data.gram) @ jnp.abs(w) + jnp.abs(data.cross)
    return (wrong <= ROUNDING * jnp.finfo(w.dtype).eps * size).all()


def _sweeps(data: Gram, w, terms: Terms, *, positive, max_iter, history_length) -> Fit:
    n, size = len(w), padded(len(w))
    scale = _scale(data.cross, terms)
    gram = jnp.pad(data.gram, (0, size - n))
    limits = jnp.pad(terms.limits, (0, size - n))

    def step(state):
        w, corr, inner_tol = state
        result = descend(
            gram,
            jnp.pad(corr, (0, size - n)),
            jnp.pad(w, (0, size - n)),
            limits,
            terms.l2,
            jnp.int32(n),
            inner_tol,
            sweeps=SWEEPS,
            positive=positive,
        )
        w = result.w[:n]
        progress, corr = _progress(data, w, terms, positive)
        converged = _within_rounding(data, w, corr, terms, positive)
        converged &= (progress.residual <= 10 * terms.tol) & (terms.tol > 0)
        status = jnp.where(converged, Status.CONVERGED, Status.RUNNING)
        progress = progress._replace(status=status.astype(jnp.int32))
        # What small changes have not mended needs smaller ones.
        inner_tol = jnp.where(result.sweeps < SWEEPS, 0.1, 1) * inner_tol
        return (w, corr, inner_tol), progress

    start, corr = _progress(data, w, terms, positive)
    start = start._replace(status=jnp.int32(Status.RUNNING))
    fit = iterate(
        step,
        (w, corr, CLOSER * terms.tol * scale),
        start,
        tol=terms.tol,
        max_iter=max_iter,
        patience=PATIENCE,
        history_length=history_length,
    )
    return fit._replace(params=fit.params[0])


def _accelerated(
    data: Gram, w, terms: Terms, *, positive, max_iter, history_length
) -> Fit:
    def smooth(w):
        curved = data.gram @ w + terms.l2 * w
        return 0.5 * (data.energy + jnp.vdot(w, curved)) - jnp.vdot(data.cross, w)

    return _by_acceleration(
        smooth, lambda w: _progress(data, w, terms, positive)[0], w, terms,
        scale=_scale(data.cross, terms), positive=positive, max_iter=max_iter,
        history_length=history_length,
    )  # fmt: skip


def _by_acceleration(
    smooth, measure, w, terms, *, scale, positive, max_iter, history_length
):
    """A Fit of w by accelerated descent, none if w is good enough.

    It ends by the size of its steps: these are to be smaller until the gap is.
    """

    def descend(w, tol):
        return accelerate(
            smooth,
            lambda w, step: _penalty.prox(
                w, step, terms.limits, terms.groups, positive
            ),
            lambda w: _penalty.value(w, terms.limits, terms.groups),
            w,
            tol=tol,
            max_iter=max_iter,
            history_length=history_length,
        )

    def more(state):
        fit, end, _, rounds = state
        going = (fit.status <= Status.STALLED) & (fit.status != Status.EXHAUSTED)
        return (end.residual > terms.tol) & going & (rounds < ROUNDS)

    def again(state):
        before, _, inner_tol, rounds = state
        fit = descend(before.params.params, inner_tol)
        fit = fit._replace(steps=fit.steps + before.steps)
        return fit, measure(fit.params.params), 0.1 * inner_tol, rounds + 1

    start = measure(w)
    tol = jnp.where(start.residual <= terms.tol, jnp.inf, terms.tol * scale)
    fit = descend(w, tol)
    state = fit, measure(fit.params.params), 0.1 * terms.tol * scale, jnp.int32(1)
    fit, end, _, _ = lax.while_loop(more, again, state)
    done = (end.residual <= terms.tol) & (fit.status <= Status.STALLED)
    worse = jnp.maximum(fit.status, Status.EXHAUSTED)
    status = jnp.where(done, Status.CONVERGED, worse)
    return fit._replace(
        params=fit.params.params, residual=end.residual, status=status.astype(jnp.int32)
    )


# --- many columns -------------------------------------------------------------------


def _on_residual(data: Columns, w, r, corr, terms: Terms, positive) -> Progress:
    """Progress at w, for the residual r and its correlation with the columns."""

    def gain(free, corr):
        """As if each w were about as large as it will be, for no G is formed."""
        square = jnp.sum(data.x**2, axis=1)
        most = 2 * jnp.abs(w) + jnp.abs(corr) / jnp.where(square > 0, square, 1)
        return jnp.sum(jnp.where(free, most * jnp.abs(corr), 0))

    rr = jnp.vdot(r, r)
    cost = 0.5 * (rr + terms.l2 * jnp.vdot(w, w))
    cost += _penalty.value(w, terms.limits, terms.groups)
    return Progress(cost, _residual(w, corr, rr, data, terms, positive, gain))


class ActiveSet(NamedTuple):
    """The columns that take part, in the order in which they came; w of the others."""

    which: jax.Array  # (c,) int32; the first `used` of them are in use
    used: jax.Array  # () int32
    inside: jax.Array  # (n,) bool, whether a column takes part
    x: jax.Array  # (c, m) these columns
    gram: jax.Array  # (c, c) their products
    w: jax.Array  # (c,)
    rest: jax.Array  # (n,) w of the others: 0 unless there are too few places
    target: jax.Array  # (m,) y without what the others explain
    corr: jax.Array  # (n,) of every column with the residual
    inner_tol: jax.Array  # () where the next descent ends


def empty(data: Columns) -> ActiveSet:
    """No column takes part yet."""
    n, m = data.x.shape
    size, dtype = padded(min(n, m + SPARE, CAPACITY)), data.x.dtype
    return ActiveSet(
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


def all_w(active: ActiveSet) -> jax.Array:
    """w of all columns, (n,)."""
    return active.rest.at[active.which].add(active.w)


def on_columns(
    data: Columns,
    active: ActiveSet,
    terms: Terms,
    *,
    positive,
    max_iter,
    history_length,
) -> Fit:
    """A Fit of ActiveSet, from the columns chosen before."""
    scale = _scale(data.cross, terms)

    def measure(active: ActiveSet, r) -> Progress:
        return _on_residual(data, all_w(active), r, active.corr, terms, positive)

    def step(active: ActiveSet):
        before = active.used
        active = _extend(data, active, terms, positive)
        valid = jnp.arange(len(active.which)) < active.used
        result = descend(
            active.gram,
            jnp.where(valid, active.corr[active.which], 0),
            active.w,
            terms.limits[active.which],
            terms.l2,
            active.used,
            active.inner_tol,
            sweeps=SWEEPS,
            positive=positive,
        )
        r = active.target - result.w @ active.x
        same = (active.used == before) & (result.sweeps < SWEEPS)
        # What small changes have not mended needs smaller ones.
        inner_tol = jnp.where(same, 0.1, 1) * active.inner_tol
        active = active._replace(w=result.w, corr=data.x @ r, inner_tol=inner_tol)
        return active, measure(active, r)

    active = active._replace(inner_tol=CLOSER * terms.tol * scale)
    return iterate(
        step,
        active,
        measure(active, active.target - active.w @ active.x),
        tol=terms.tol,
        max_iter=max_iter,
        patience=PATIENCE,
        history_length=history_length,
    )


def _extend(
    data: Columns, active: ActiveSet, terms: Terms, positive: bool
) -> ActiveSet:
    """The columns that most violate their conditions join, a few at a time."""
    size, n = len(active.which), len(active.rest)
    descent = active.corr - terms.l2 * active.rest
    wrong = _penalty.violations(descent, active.rest, terms.limits, None, positive)
    # At a lower threshold than these conditions the set would be flooded.
    excess, new = lax.top_k(jnp.where(active.inside, -1, wrong), ADDED)
    if size < n:
        wanted = jnp.minimum(jnp.sum(excess > 0), size // 2)
        # Of one trip or none: a cond would copy the arrays each time.
        active = lax.while_loop(lambda c: c.used + wanted > size, _shrink, active)
    place = active.used + jnp.arange(ADDED)
    joins = (excess > 0) & (place < size)
    place = jnp.where(joins, place, size)  # out of bounds: nothing is written
    other = jnp.where(joins, new, n)
    x_new, w_new = data.x[new], jnp.where(joins, active.rest[new], 0)
    x = active.x.at[place].set(x_new, mode="drop")
    block = x_new @ x.T
    gram = active.gram.at[place].set(block, mode="drop")
    return active._replace(
        which=active.which.at[place].set(new.astype(jnp.int32), mode="drop"),
        used=active.used + jnp.sum(joins).astype(jnp.int32),
        inside=active.inside.at[other].set(True, mode="drop"),
        x=x,
        gram=gram.at[:, place].set(block.T, mode="drop"),
        w=active.w.at[place].set(w_new, mode="drop"),
        rest=active.rest.at[other].set(0, mode="drop"),
        target=active.target + w_new @ x_new,
    )


def _shrink(active: ActiveSet) -> ActiveSet:
    """Columns whose w is 0 make room; where few are, also the half that came first."""
    size, n = len(active.which), len(active.rest)
    position = jnp.arange(size)
    stays = active.w != 0
    crowded = jnp.sum(stays) > size - ADDED
    stays &= ~crowded | (position >= size // 2)
    order = jnp.argsort(~stays, stable=True)
    used = jnp.sum(stays).astype(jnp.int32)
    first = position < used
    gone = jnp.where(stays, 0, active.w)
    return active._replace(
        which=jnp.where(first, active.which[order], 0),
        used=used,
        inside=jnp.zeros(n, bool)
        .at[jnp.where(stays, active.which, n)]
        .set(True, mode="drop"),
        x=jnp.where(first[:, None], active.x[order], 0),
        gram=active.gram[order[:, None], order[None]],
        w=jnp.where(first, active.w[order], 0),
        rest=active.rest.at[active.which].add(gone),
        target=active.target - gone @ active.x,
    )


def on_data(
    data: Columns, w, terms: Terms, *, positive, max_iter, history_length
) -> Fit:
    """A Fit of w, (n,), from w, by accelerated descent over all columns."""

    def smooth(w):
        r = data.y - w @ data.x
        return 0.5 * (jnp.vdot(r, r) + terms.l2 * jnp.vdot(w, w))

    def measure(w):
        r = data.y - w @ data.x
        return _on_residual(data, w, r, data.x @ r, terms, positive)

    return _by_acceleration(
        smooth, measure, w, terms, scale=_scale(data.cross, terms), positive=positive,
        max_iter=max_iter, history_length=history_length,
    )  # fmt: skip
