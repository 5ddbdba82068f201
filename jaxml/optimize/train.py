"""Mini-batch training: a run is a pytree, an epoch is one scan and one dispatch.

    update = train.descend(feedforward.cost, learning_rate=0.5, l2=1e-4)
    state = train.start(update, params, key)
    fit, state = train.run(update, state, (x, y), batch=10, epochs=30)

An update is a pytree that can be called: `update(state, key, batch) -> (state,
metrics)`. What it holds (learning_rate, l2) is traced: `fit` can be vmapped over rates,
penalties and seeds. A rule of your own that holds arrays is a jax.tree_util.Partial.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Count, Key, Static, Weights
from jaxml.optimize import _batches, _epoch
from jaxml.optimize._batches import Batch as Batch
from jaxml.optimize._descent import Descent as Descent
from jaxml.optimize._descent import descend as descend
from jaxml.optimize._epoch import State as State
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.optimize._run import resident
from jaxml.optimize._run import run as run

__all__ = ["Batch", "Descent", "State", "descend", "epoch", "fit", "run", "start"]


@_check.host
def start(
    update: Any, params: Any, key: Key, *, memory: Any = None, extra: Any = ()
) -> State:
    """The State of a new run from params, with the run's key, ().

    memory is what update.init(params) gives, if update has an init; extra is kept for
    updates that need it. Pure: can be vmapped over params, keys and updates.
    """
    _check.key(key)
    params = jax.tree.map(resident, params)
    if memory is None:
        memory = update.init(params) if hasattr(update, "init") else ()
    zero = jnp.int32(0)
    return State(params, memory, extra, key, zero, zero)


@_check.pure(jit=True, full_precision=False)
def epoch(
    update: Any,
    state: State,
    data: Any,
    *,
    batch: Count,
    weights: Weights | None = None,
    steps: Count | None = None,
) -> tuple[State, dict[str, jax.Array]]:
    """Run one epoch of update: rows drawn without replacement, one step for each batch.

    data is a pytree of arrays of m rows; rows are shuffled by index, anew in each
    epoch, as the state's key and epoch say. Each batch has `batch` rows; where that
    does not divide m, the last one is padded by rows of weight 0. weights, (m,), are
    the rows' own. With steps, a divisor of the number of batches, only so many batches
    are run, from state.position on.

    Returns the state after it and the metrics of each batch, (steps,) each. A batch in
    which no row has weight is no step: it leaves the state as it is, but for position,
    and its metrics are 0.
    """
    state, metrics, _ = _epoch.epoch(update, state, data, batch, weights, steps)
    return state, metrics


@_check.fit(full_precision=False)
def fit(
    update: Any,
    state: State,
    data: Any,
    *,
    batch: Count,
    epochs: Count,
    weights: Weights | None = None,
    validation: Any = None,
    score: Static[Callable[..., jax.Array] | None] = None,
    patience: Count | None = None,
) -> Fit:
    """The whole run as a pure function: epochs of `epoch`, from state.

    Can be jitted, and vmapped over states (seeds), updates (rates, penalties) and
    weights (folds). data, weights (m,) and batch as in epoch.

    With validation, a pytree of arrays, score(params, *validation) is recorded after
    each epoch, the greater the better. With patience too, the run is STOPPED when the
    score has not improved for so many epochs, and params are the best validated;
    otherwise they are the last, and the run FINISHED. A score or a cost that is not
    finite ends it as NONFINITE: so do targets that the cost is not for, which nothing
    can refuse in here. Without patience it is STALLED where the cost, as the
    update of descend tells it, ends above one and a half times that of the start.

    Fit.cost is the mean cost of the last epoch's batches, each before its step and
    weighed by the weights of its rows; Fit.residual the epochs since the best score;
    Fit.history a dict of (epochs,) arrays: the mean of each metric, and
    "validation_score".
    Training cuts off derivatives. A state that stands inside an epoch is INVALID: epoch
    and run can finish it.
    """
    _epoch.check_validation(validation, score, patience)
    dtype = _batches.float_dtype(state.params)
    best = _epoch.Best(state.params, jnp.asarray(-jnp.inf, dtype), jnp.int32(0))
    begun = state

    def step(carry):
        state, best, first = carry
        new = state.epoch == begun.epoch
        state, metrics, loads = _epoch.epoch(update, state, data, batch, weights)
        record = _batches.means(metrics, loads, _batches.count_rows(data, batch), batch)
        first = jnp.where(new, metrics["cost"][0], first).astype(dtype)
        status = jnp.int32(Status.RUNNING)
        if score is not None:
            seen = _epoch.score(score, state.params, validation).astype(dtype)
            record["validation_score"] = seen
            best = best.after(state.params, seen)
        if patience is not None:
            status = jnp.where(best.since >= patience, Status.STOPPED, status)
        if score is not None:
            finite = jnp.isfinite(record["validation_score"])
            status = jnp.where(finite, status, Status.NONFINITE)
        residual = best.since.astype(dtype)
        return (state, best, first), Progress(record["cost"], residual, status, record)

    carry = state, best, jnp.zeros((), dtype)
    run = iterate(step, carry, tol=-1.0, max_iter=epochs, history_length=epochs)
    (state, best, first), status = run.params, run.status
    params = state.params if patience is None else best.params
    last = (status == Status.EXHAUSTED) | (status == Status.FINISHED)
    status = jnp.where(last, Status.FINISHED, status)
    if patience is None and isinstance(update, Descent):
        # One batch is noisy, but it is known: only above it are more rows asked.
        risen = jax.lax.cond(
            _epoch.above(run.cost, first),
            lambda: _epoch.above(
                run.cost, _epoch.first_cost(update, begun, data, batch, weights)
            ),
            lambda: False,
        )
        status = jnp.where(last & risen, Status.STALLED, status)
    status = jnp.where(begun.position != 0, Status.INVALID, status).astype(jnp.int32)
    return jax.lax.stop_gradient(run._replace(params=params, status=status))
