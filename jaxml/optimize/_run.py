"""A training run on the host: epochs, a bar, Ctrl-C, and files to go on from."""

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import Count, Weights
from jaxml.optimize import _batches, _epoch
from jaxml.optimize._bar import Bar
from jaxml.optimize._descent import Descent
from jaxml.optimize._epoch import Best, State
from jaxml.optimize._fit import UNRECORDED, Fit, Status
from jaxml.optimize._saved import Run, Saved


@_check.host
def run(
    update: Any,
    state: State,
    data: Any,
    *,
    batch: int,
    epochs: int,
    weights: Weights | None = None,
    validation: Any = None,
    score: Callable[..., jax.Array] | None = None,
    patience: int | None = None,
    after: Callable[[State, dict[str, float]], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: float = 1,
) -> tuple[Fit, State]:
    """The run on the host: as `fit`, with progress, Ctrl-C and a state to go on from.

    Arguments as in fit; data stay on the device. A bar shows the epochs where tqdm is
    installed and stderr is a terminal, a line an epoch where only the latter is so.
    after(state, record) is called after each epoch, with its metrics and score. Ctrl-C
    ends the run after the last whole epoch, INTERRUPTED.

    With checkpoint, a folder, the run is saved there every so many epochs, or 0.1 for
    ten times an epoch, while it goes on. Called again with the same arguments, it
    begins where it was saved last, whatever ended it: the Fit, with its history, and
    the State are bit for bit those of a run that was never stopped. With more epochs it
    goes on from its end. What cannot be saved ends the run with an OSError.

    Returns the Fit, as fit does, and the last State: a run resumed from it goes on bit
    for bit as if it had never ended (patience counts anew).
    """
    _epoch.check_validation(validation, score, patience)
    epochs = _check.count("epochs", epochs)
    data, validation = jax.tree.map(resident, (data, validation))
    _check.finite("data", data)
    m = _batches.count_rows(data, batch)
    worst = jnp.asarray(-jnp.inf, jnp.float32)
    begun, best = state, Best(state.params, worst, jnp.int32(0))
    with Saved(checkpoint, every, batch, m) as saved:
        now = whole = saved.resumed(Run(state, best, [], [], math.inf))
        if len(now.records) > epochs:
            raise ValueError(f"epochs must be at least the {len(now.records)} saved")
        status = _status(now, patience)
        try:
            with Bar(epochs, len(now.records)) as bar:
                while len(now.records) < epochs and status == Status.FINISHED:
                    ahead = _advanced(now, update, data, batch, weights, saved.steps)
                    if int(ahead.state.position) == 0:
                        ahead = _recorded(ahead, m, batch, score, validation)
                        now, whole, record = ahead, ahead, ahead.records[-1]
                        bar.show(record)
                        if after is not None:
                            after(whole.state, record)
                        status = _status(whole, patience)
                    now = ahead
                    saved.save(now)
            judged = status == Status.FINISHED and patience is None
            if judged and _stalled(whole, update, begun, data, batch, weights):
                status = Status.STALLED
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        saved.close(now)
    return _report(whole, status, epochs, patience), whole.state


def resident(array):
    """On the device for the whole run; NumPy memory is copied, as it may change."""
    if isinstance(array, (jax.Array, jax.core.Tracer)):
        return array
    return jnp.array(array)


def _advanced(now: Run, update, data, batch, weights, steps: int | None) -> Run:
    """The run after `steps` batches more, or what is left of the epoch if None."""
    position = int(now.state.position)
    if position:
        total = -(-_batches.count_rows(data, batch) // batch)
        steps = math.gcd(position, steps or total)
    options = {"batch": batch, "weights": weights, "steps": steps}
    state, *part = _loaded_epoch(update, now.state, data, **options)
    return now._replace(state=state, parts=[*now.parts, part])


@_check.pure(jit=True, full_precision=False)
def _loaded_epoch(
    update,
    state,
    data,
    *,
    batch: Count,
    weights: Weights | None = None,
    steps: Count | None = None,
):
    """`train.epoch`, with the loads of its batches."""
    return _epoch.epoch(update, state, data, batch, weights, steps)


def _recorded(now: Run, m: int, batch: int, score, validation) -> Run:
    """The run after an epoch all of whose parts are there."""
    join = lambda *each: jnp.concatenate(each)
    metrics, loads = jax.tree.map(join, *now.parts)
    means = _batches.means(metrics, loads, m, batch)
    record, best = {name: float(value) for name, value in means.items()}, now.best
    if score is not None:
        value = float(_score(score, now.state.params, validation))
        record["validation_score"] = value
        best = best.after(now.state.params, value)
    first = now.first if now.records else float(metrics["cost"][0])
    return Run(now.state, best, [], [*now.records, record], first)


def _status(now: Run, patience: int | None) -> Status:
    """FINISHED, if nothing speaks against going on."""
    record = now.records[-1] if now.records else {}
    if not np.isfinite([record.get(n, 0) for n in ("cost", "validation_score")]).all():
        return Status.NONFINITE
    stopped = patience is not None and now.best.since >= patience
    return Status.STOPPED if stopped else Status.FINISHED


def _stalled(now: Run, update, begun: State, data, batch, weights) -> bool:
    """Whether the cost is above that of the start, which is asked for if it may be."""

    def risen(begin) -> bool:
        return bool(_epoch.above(now.records[-1]["cost"], begin))

    if not isinstance(update, Descent) or not risen(now.first):
        return False
    return risen(_first_cost(update, begun, data, batch=batch, weights=weights))


def _report(now: Run, status, epochs, patience) -> Fit:
    """The Fit of a host run; without a whole epoch there is no cost to tell."""
    records = now.records
    names = records[0] if records else {"cost"}
    history = {n: np.full(epochs, UNRECORDED, np.float32) for n in names}
    for i, record in enumerate(records):
        for name, value in record.items():
            history[name][i] = value
    return Fit(
        params=now.state.params if patience is None else now.best.params,
        cost=jnp.asarray(records[-1]["cost"] if records else jnp.nan),
        residual=jnp.asarray(now.best.since, jnp.float32),
        steps=jnp.int32(len(records)),
        status=jnp.int32(status),
        history={name: jnp.asarray(values) for name, values in history.items()},
    )


@_check.pure(jit=True, full_precision=False)
def _first_cost(update, state, data, *, batch: Count, weights: Weights | None = None):
    return _epoch.first_cost(update, state, data, batch, weights)


@partial(jax.jit, static_argnums=0)
def _score(score, params, validation):
    return _epoch.score(score, params, validation)
