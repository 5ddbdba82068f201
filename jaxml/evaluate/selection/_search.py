"""Points to try: grids, random draws, and descent along the derivative."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml import _check
from jaxml._check import (
    AnyArray,
    Array,
    Count,
    Key,
    NonNegative,
    Positive,
    Static,
    Weights,
)
from jaxml._units import power_of_two
from jaxml.evaluate.selection import _fold
from jaxml.evaluate.selection._folds import Folds
from jaxml.optimize._fit import Fit
from jaxml.optimize._minimize import minimize
from jaxml.optimize._solver import Solver


@_check.host
def grid(**lists: Any) -> dict[str, jax.Array]:
    """All combinations of lists of values, the last name varying fastest.

    `grid(l2=[1, 0.1], gamma=[1, 2, 3])` gives {"l2": (6,), "gamma": (6,)}. Put the
    simplest models first (the largest penalties) for Scores.one_standard_error. Can be
    jitted. Raises ValueError for lists that are not 1-D.
    """
    if not lists:
        raise ValueError("lists must name a hyper-parameter: grid(l2=[1, 0.1])")
    values = {name: _fold.values(name, each, float) for name, each in lists.items()}
    for name, each in values.items():
        if each.ndim != 1:
            raise ValueError(f"{name} must be a list of numbers, not {lists[name]!r}")
    mesh = jnp.meshgrid(*values.values(), indexing="ij")
    return {name: each.ravel() for name, each in zip(values, mesh)}


@_check.host
def random_search(
    key: Key, *, draws: int, log: bool = True, **limits: Any
) -> dict[str, jax.Array]:
    """Points drawn at random: log h uniform between the logs of two limits.

    `random_search(key, draws=50, l2=(1e-4, 1), gamma=(1e-2, 10))` gives
    {"l2": (50,), "gamma": (50,)}. The better half of a box is found as soon with
    further hyper-parameters that do not matter, as a grid's is not (Bergstra & Bengio
    2012).

    Args:
        key: jax.random.key(seed).
        draws: how many points.
        log: False for h itself uniform.
        limits: (low, high) for each hyper-parameter, above 0 if log.

    Raises:
        ValueError: limits that are no such pairs, draws below 1.

    """
    _check.key(key)
    draws = _check.count("draws", draws)
    result = {}
    for name, pair in limits.items():
        low, high = _limits(name, pair, log)
        key, use = jax.random.split(key)
        u = jax.random.uniform(use, (draws,))
        # Half the way at a time: high / low, or high - low, may overflow.
        half = math.sqrt(high / low) ** u if log else (high / 2 - low / 2) * u
        drawn = low * half * half if log else low + half + half
        result[name] = jnp.minimum(drawn, high)
    if not result:
        raise ValueError("limits must name a hyper-parameter: l2=(1e-4, 1)")
    return result


def _limits(name: str, pair, log: bool):
    width = jnp.finfo(jnp.result_type(float))
    try:
        low, high = (float(end) for end in pair)
    except (TypeError, ValueError):
        low = high = np.nan
    # Also in the width of what is drawn.
    least = float(width.tiny if log else width.min)
    if not least <= low < high <= float(width.max):
        kind = f"{'0 < ' * log}low < high in {width.dtype}"
        raise ValueError(f"{name} must be (low, high) with {kind}, not {pair!r}")
    return low, high


# --- descent -----------------------------------------------------------------------


@_check.fit
def descend(
    params: Mapping[str, jax.Array],
    fit: Static[Callable[..., Fit]],
    cost: Static[Callable[..., jax.Array]],
    x: Annotated[Array, "m|m n"],
    y: AnyArray,
    *,
    folds: Folds,
    weights: Weights | None = None,
    solver: Static[Solver] = optax.lbfgs,
    learning_rate: Positive | None = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 100,
) -> Fit:
    """Minimise the mean of cost over held-out rows, J(h) = Σ cost_f / f, over log h.

    The derivative goes through the fit, by the implicit function theorem where the fit
    has it (Bengio 2000), so that any number of hyper-parameters costs one more solve. A
    fit that is not CONVERGED ends the search as NONFINITE.

    Args:
        params: {name: value} hyper-parameters to start from, all above 0, scalars or
            arrays (a penalty for each feature).
        fit: fit(x, y, *, weights, **params) -> Fit, with derivatives; static.
        cost: cost(params of the model, x, y, *, weights) -> (), smooth; static.
        x: (m,) or (m, n) rows.
        y: (m,) or (m, t) array of targets or labels.
        folds: Folds, (f, m); one fold is a validation set.
        weights: (m,) weights of the rows; 1 if None.
        solver: an optax optimiser, as in `minimize`.
        learning_rate: () its rate; None for one that searches a line.
        tol: () stop when the residual is at most tol: J may have any unit.
        max_iter: the most steps.

    Returns:
        A Fit whose params are the hyper-parameters; residual is that norm over the
        power of two next below |J| at the start. It depends on the start, and has no
        derivatives.

    """
    train, test = _fold.row_weights(folds, x, y, weights)
    data = jax.lax.stop_gradient((x, y, train, test))
    start = jax.tree.map(jnp.log, dict(params))
    objective = functools.partial(
        _validation,
        fit=_fold.compiled_in("fit", fit),
        cost=_fold.compiled_in("cost", cost),
    )
    size = power_of_two(jnp.abs(objective(start, *data, jnp.ones((), x.dtype))))
    result = minimize(
        objective,
        start,
        *data,
        size,
        solver=solver,
        learning_rate=learning_rate,
        tol=tol,
        max_iter=max_iter,
    )
    result = result._replace(
        params=jax.tree.map(jnp.exp, result.params),
        cost=size * result.cost,
        history=size * result.history,
    )
    return jax.lax.stop_gradient(result)


def _validation(logs, x, y, train, test, size, *, fit, cost):
    """The mean cost of the folds in units of size, ()."""
    point = jax.tree.map(jnp.exp, logs)
    one = functools.partial(_fold.one_fit, fit, cost, x, y, name="cost")
    _, costs, _ = jax.vmap(one, (0, 0, None))(train, test, point)
    return _fold.over_folds(costs, _fold.held_out(test))[0] / size
