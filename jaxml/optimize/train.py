"""Mini-batch training: a run is a pytree, an epoch is one scan and one dispatch.

    update = train.descend(feedforward.cost, learning_rate=0.5, l2=1e-4)
    state = train.start(update, params, key)
    fit, state = train.run(update, state, (x, y), batch=10, epochs=30)

An update is a pytree that can be called: `update(state, key, batch) -> (state,
metrics)`. What it holds (learning_rate, l2) is traced: `fit` can be vmapped over rates,
penalties and seeds. A rule of your own that holds arrays is a jax.tree_util.Partial.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml import _check
from jaxml._check import Count, Key, Positive, Static, Weights
from jaxml.optimize import _batches, _solver
from jaxml.optimize._bar import Bar
from jaxml.optimize._batches import Batch as Batch
from jaxml.optimize._fit import UNRECORDED, Fit, Progress, Status, iterate
from jaxml.optimize._solver import Solver

__all__ = ["Batch", "Descent", "State", "descend", "epoch", "fit", "run", "start"]

ROWS = 1000  # rows of which the cost at the start is taken
RISE = 0.5  # of the cost at the start; above it a run has not gone well


class State(NamedTuple):
    """All that a run needs to go on, bit for bit."""

    params: Any  # the model's own Params
    memory: Any  # what the solver remembers
    extra: Any  # batch statistics, chains, a second player; () if there are none
    # the run's key, never changed: draws are folded from it
    key: Annotated[jax.Array, ""]
    epoch: Annotated[jax.Array, ""]  # int32, epochs completed
    position: Annotated[jax.Array, ""]  # int32, batches taken since


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["learning_rate", "hyper"],
    meta_fields=["cost", "solver", "gradient", "stochastic"],
)
class Descent:
    """The update of `descend`: one step of an optax solver down a cost."""

    def __init__(self, cost, solver, gradient, stochastic, learning_rate, hyper):
        """Keep what is static and what is traced apart, as the registration says."""
        self.cost, self.gradient = cost, gradient
        self.solver, self.stochastic = solver, stochastic
        self.learning_rate, self.hyper = learning_rate, hyper

    @property
    def transform(self) -> optax.GradientTransformationExtraArgs:
        """The optax transformation, at this learning_rate."""
        return _solver.build(self.solver, self.learning_rate)

    def init(self, params):
        """What the solver remembers at the start."""
        return self.transform.init(params)

    def value(self, params, key: jax.Array, batch: Batch) -> jax.Array:
        """The cost of a batch, ()."""
        args, hyper = self._arguments(key, batch)
        return self.cost(params, *args, **hyper)

    def _arguments(self, key, batch):
        weighted = {} if batch.weights is None else {"weights": batch.weights}
        args = ((key,) if self.stochastic else ()) + tuple(batch.data)
        return args, {**self.hyper, **weighted}

    def __call__(self, state: State, key: jax.Array, batch: Batch):
        """One step; metrics are the cost before it."""
        args, hyper = self._arguments(key, batch)

        def objective(params):
            return self.cost(params, *args, **hyper)

        if self.gradient is None:
            value, grad = jax.value_and_grad(objective)(state.params)
        else:
            # The compiler finds the forward pass that the two have in common.
            value = objective(state.params)
            grad = self.gradient(state.params, *args, **hyper)
        updates, memory = self.transform.update(
            grad, state.memory, state.params, value=value, grad=grad, value_fn=objective
        )
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, memory=memory), {"cost": value}


@_check.host
def descend(
    cost: Callable[..., jax.Array],
    *,
    solver: Solver = optax.sgd,
    learning_rate: Positive | None = None,
    gradient: Callable[..., Any] | None = None,
    stochastic: bool = False,
    **hyper: Any,
) -> Descent:
    """The usual update, a step down cost(params, [key], *data, weights=…, **hyper).

    Args:
        cost: returns a scalar; data is a tuple, and weights, (batch,), are passed where
            rows are weighted or padded.
        solver: as in optimize.minimize; schedules count batches.
        learning_rate: () as there.
        gradient: the gradient of cost, of the same arguments, where one is derived by
            hand; else autodiff.
        stochastic: whether cost takes a key second.
        hyper: penalties and the like: numbers are traced; options such as loss="…"
            belong in a functools.partial of cost.

    """
    solver, cost = _solver.check("solver", solver), _check.by_value("cost", cost)
    gradient = _check.by_value("gradient", gradient)
    if not callable(cost):
        raise ValueError(f"cost must be a function, not {cost!r}")
    for name, value in hyper.items():
        if isinstance(value, str):
            raise ValueError(f"{name} is an option: functools.partial(cost, {name}=…)")
    if gradient is not None and not callable(gradient):
        raise ValueError(f"gradient must be a function, not {gradient!r}")
    _solver.build(solver, learning_rate)  # tells at once if one is missing
    return Descent(cost, solver, gradient, stochastic, learning_rate, hyper)


@_check.host
def start(
    update: Any, params: Any, key: Key, *, memory: Any = None, extra: Any = ()
) -> State:
    """The State of a new run from params, with the run's key, ().

    memory is what update.init(params) gives, if update has an init; extra is kept for
    updates that need it. Pure: can be vmapped over params, keys and updates.
    """
    _check.key(key)
    params = jax.tree.map(_resident, params)
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
    state, metrics, _ = _epoch(update, state, data, batch, weights, steps)
    return state, metrics


@_check.pure(jit=True, full_precision=False)
def _host_epoch(
    update,
    state,
    data,
    *,
    batch: Count,
    weights: Weights | None = None,
    steps: Count | None = None,
):
    """`epoch`, with the loads of its batches."""
    return _epoch(update, state, data, batch, weights, steps)


def _epoch(update, state, data, batch, weights, steps=None):
    """State and metrics as `epoch`, and the load of each batch, (steps,).

    A load is the weight of the batch's rows, in units of the largest weight; None where
    rows have none.
    """
    if not callable(update):
        kind = type(update).__name__
        raise ValueError(f"update must be called with a batch, as no {kind} can be")
    batches = _batches.of_epoch(state, data, batch, weights, steps)

    def advance(state, now):
        number, rows = now
        taken, load = batches.take(number, rows)
        after, metrics = update(state, batches.key(number), taken)
        if load is not None:

            def keep(new, old):
                return optax.tree.where(load == 0, old, new)

            # Not its key, which no step changes: one of two would be used twice.
            after, old = (s._replace(key=()) for s in (after, state))
            after, metrics = keep(after, old), keep(metrics, _zeros(metrics))
            after = after._replace(key=state.key)
        return after, (metrics, load)

    numbers = batches.numbers
    state, (metrics, loads) = jax.lax.scan(advance, state, (numbers, batches.rows))
    done = numbers[-1] + 1 >= batches.total
    position = jnp.where(done, 0, numbers[-1] + 1)
    state = state._replace(epoch=state.epoch + done, position=position)
    return state, metrics, loads


def _zeros(tree):
    return jax.tree.map(jnp.zeros_like, tree)


class _Best(NamedTuple):
    """The best validated parameters so far."""

    params: Any
    score: jax.Array  # ()
    since: jax.Array  # () int32, epochs since

    def after(self, params, score) -> "_Best":
        better = score > self.score
        chosen = jax.tree.map(
            lambda new, old: jnp.where(better, new, old), params, self.params
        )
        since = jnp.where(better, 0, self.since + 1)
        return _Best(chosen, jnp.where(better, score, self.score), since)


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
    _validated(validation, score, patience)
    dtype = _batches.float_dtype(state.params)
    best = _Best(state.params, jnp.asarray(-jnp.inf, dtype), jnp.int32(0))
    begun = state

    def step(carry):
        state, best, first = carry
        new = state.epoch == begun.epoch
        state, metrics, loads = _epoch(update, state, data, batch, weights)
        record = _batches.means(metrics, loads, _batches.count_rows(data, batch), batch)
        first = jnp.where(new, metrics["cost"][0], first).astype(dtype)
        status = jnp.int32(Status.RUNNING)
        if score is not None:
            seen = _score(score, state.params, validation).astype(dtype)
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
            _above(run.cost, first),
            lambda: _above(run.cost, _first_cost(update, begun, data, batch, weights)),
            lambda: False,
        )
        status = jnp.where(last & risen, Status.STALLED, status)
    status = jnp.where(begun.position != 0, Status.INVALID, status).astype(jnp.int32)
    return jax.lax.stop_gradient(run._replace(params=params, status=status))


def _above(cost, begin):
    """Whether a cost is above begin by more than the noise of mini-batches."""
    return cost > begin + RISE * jnp.abs(begin)


def _first_cost(update, state, data, batch, weights) -> jax.Array:
    """The mean cost of batches at the state's params, (): of some thousand rows."""
    state = state._replace(position=jnp.int32(0))  # which may be inside an epoch
    batches = _batches.of_epoch(state, data, batch, weights, None)
    few = min(batches.total, max(1, ROWS // batch))

    def one(now):
        taken, load = batches.take(*now)
        value = update.value(state.params, batches.key(now[0]), taken)
        return value, load

    costs, loads = jax.lax.map(one, (batches.numbers[:few], batches.rows[:few]))
    m = min(few * batch, _batches.count_rows(data, batch))
    return _batches.means({"cost": costs}, loads, m, batch)["cost"]


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
) -> tuple[Fit, State]:
    """The run on the host: as `fit`, with progress, Ctrl-C and a state to go on from.

    Arguments as in fit; data stay on the device. A bar shows the epochs where tqdm is
    installed and stderr is a terminal, a line an epoch where only the latter is so.
    after(state, record) is called after each epoch, with its metrics and score; it may
    save the state. Ctrl-C ends the run after the last whole epoch, INTERRUPTED.

    Returns the Fit, as fit does, and the last State: a run resumed from it goes on bit
    for bit as if it had never ended (patience counts anew).
    """
    _validated(validation, score, patience)
    epochs = _check.count("epochs", epochs)
    data, validation = jax.tree.map(_resident, (data, validation))
    _check.finite("data", data)
    worst = jnp.asarray(-jnp.inf, jnp.float32)
    best, status = _Best(state.params, worst, jnp.int32(0)), Status.FINISHED
    records: list[dict[str, float]] = []
    m, begun, first = _batches.count_rows(data, batch), state, np.inf
    try:
        with Bar(epochs) as bar:
            for _ in range(epochs):
                ahead, *result = _whole_epoch(update, state, data, batch, weights)
                means = _batches.means(result[0], result[1], m, batch)
                record = {name: float(value) for name, value in means.items()}
                if score is not None:
                    record["validation_score"] = float(
                        _host_score(score, ahead.params, validation)
                    )
                    best = best.after(ahead.params, record["validation_score"])
                state = ahead
                first = first if records else float(result[0]["cost"][0])
                records.append(record)
                bar.show(record)
                if after is not None:
                    after(state, record)
                seen = record["cost"], record.get("validation_score", 0)
                if not np.isfinite(seen).all():
                    status = Status.NONFINITE
                elif patience is not None and best.since >= patience:
                    status = Status.STOPPED
                if status != Status.FINISHED:
                    break
        last = records[-1]["cost"]
        judged = status == Status.FINISHED and patience is None
        if judged and isinstance(update, Descent) and _above(last, first):
            begin = _host_first_cost(update, begun, data, batch=batch, weights=weights)
            status = Status.STALLED if _above(last, begin) else status
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return _report(state, best, records, status, epochs, patience), state


def _resident(array):
    """On the device for the whole run; NumPy memory is copied, as it may change."""
    if isinstance(array, (jax.Array, jax.core.Tracer)):
        return array
    return jnp.array(array)


def _report(state, best, records, status, epochs, patience) -> Fit:
    """The Fit of a host run; without a whole epoch there is no cost to tell."""
    names = records[0] if records else {"cost"}
    history = {n: np.full(epochs, UNRECORDED, np.float32) for n in names}
    for i, record in enumerate(records):
        for name, value in record.items():
            history[name][i] = value
    return Fit(
        params=state.params if patience is None else best.params,
        cost=jnp.asarray(records[-1]["cost"] if records else jnp.nan),
        residual=jnp.asarray(best.since, jnp.float32),
        steps=jnp.int32(len(records)),
        status=jnp.int32(status),
        history={name: jnp.asarray(values) for name, values in history.items()},
    )


@_check.pure(jit=True, full_precision=False)
def _host_first_cost(
    update, state, data, *, batch: Count, weights: Weights | None = None
):
    return _first_cost(update, state, data, batch, weights)


@partial(jax.jit, static_argnums=0)
def _host_score(score, params, validation):
    return _score(score, params, validation)


def _score(score, params, validation) -> jax.Array:
    return jnp.asarray(_check.scalar("score", score(params, *validation)))


def _whole_epoch(update, state, data, batch, weights):
    """State, metrics and loads of an epoch, or of what is left of it."""
    position = int(state.position)
    total = -(-_batches.count_rows(data, batch) // batch)
    steps = math.gcd(position, total) if position else None
    parts: list[Any] = []
    while not parts or int(state.position):
        state, *result = _host_epoch(
            update, state, data, batch=batch, weights=weights, steps=steps
        )
        parts.append(result)
    return state, *jax.tree.map(lambda *each: jnp.concatenate(each), *parts)


def _validated(validation, score, patience) -> None:
    if (validation is None) != (score is None):
        missing = "score" if score is None else "validation"
        raise ValueError(f"{missing} must be given: validation and score go together")
    if not isinstance(validation, (tuple, list, type(None))):
        raise ValueError("validation must be a tuple, of what score takes after params")
    if patience is not None and score is None:
        raise ValueError("patience needs validation and score")
