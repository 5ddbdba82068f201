"""Mini-batch training: a run is a pytree, an epoch is one scan and one dispatch.

    update = train.descend(feedforward.cost, solver=optax.sgd, rate=0.5, l2=1e-4)
    state = train.start(update, params, key)
    fit, state = train.run(update, state, (x, y), batch=10, epochs=30)

An update is a pytree that can be called, `update(state, key, batch) -> (state, metrics)`:
what it holds (rate, l2) is traced, so `fit` can be vmapped over rates, penalties, seeds.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml import _check
from jaxml.optimize.fit import Fit, Progress, Status, iterate
from jaxml.optimize.recipe import build, canonical


class State(NamedTuple):
    """All that a run needs to go on, bit for bit."""

    params: Any  # the model's own Params
    memory: Any  # what the solver remembers
    extra: Any  # batch statistics, chains, a second player; () if there are none
    key: jax.Array  # () the run's key, never changed: draws are folded from it
    epoch: jax.Array  # () int32, epochs completed
    position: jax.Array  # () int32, batches taken since


class Batch(NamedTuple):
    """Some rows of the data."""

    data: Any  # the pytree of the data, batch rows of each array
    weights: jax.Array | None  # (batch,) 0 for padding; None if every row counts one


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["rate", "hyper"],
    meta_fields=["cost", "solver", "schedule", "gradient", "stochastic"],
)
class Descent:
    """The update of `descend`: one step of an optax solver down a cost."""

    def __init__(self, cost, solver, schedule, gradient, stochastic, rate, hyper):
        """Keep what is static and what is traced apart, as the registration says."""
        self.cost, self.gradient = cost, gradient
        self.solver, self.schedule = solver, schedule
        self.stochastic = stochastic
        self.rate, self.hyper = rate, hyper

    @property
    def transform(self) -> optax.GradientTransformationExtraArgs:
        """The optax transformation, at this rate."""
        return build(self.solver, self.rate, self.schedule)

    def init(self, params):
        """What the solver remembers at the start."""
        return self.transform.init(params)

    def __call__(self, state: State, key: jax.Array, batch: Batch):
        """One step; metrics are the cost before it."""
        weighted = {} if batch.weights is None else {"weights": batch.weights}
        hyper = {**self.hyper, **weighted}
        args = ((key,) if self.stochastic else ()) + tuple(batch.data)

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
    solver: Any = optax.sgd,
    rate: Any = None,
    schedule: Any = None,
    gradient: Callable[..., Any] | None = None,
    stochastic: bool = False,
    **hyper: Any,
) -> Descent:
    """The usual update: an optax step down cost(params, [key], *data, weights=…, **hyper).

    Args:
        cost: returns a scalar; data is a tuple, and weights, (batch,), are passed where
            rows are weighted or padded.
        solver: recipe `rate -> optax transformation`.
        rate: () its argument, may be traced.
        schedule: recipe `rate -> optax schedule`, counted in batches.
        gradient: the gradient of cost, of the same arguments, where one is derived by
            hand; else autodiff.
        stochastic: whether cost takes a key second.
        hyper: penalties and the like: numbers are traced; options such as loss="…"
            belong in optimize.recipe(cost, loss="…").

    """
    solver = canonical("solver", solver)
    if not callable(cost):
        raise ValueError(f"cost must be a function, not {cost!r}")
    for name, value in hyper.items():
        if isinstance(value, str):
            raise ValueError(f"{name} is an option: use optimize.recipe(cost, {name}=…)")
    build(solver, rate, schedule)  # tells at once if a rate is missing
    return Descent(cost, solver, schedule, gradient, stochastic, rate, hyper)


@_check.host
def start(
    update: Any, params: Any, key: jax.Array, *, memory: Any = None, extra: Any = ()
) -> State:
    """The State of a new run from params, with the run's key, ().

    memory is what update.init(params) gives, if update has an init; extra is kept for
    updates that need it. Pure: can be vmapped over params, keys and updates.
    """
    _check.key(key)
    # A copy: NumPy memory may change under a run, and a jitted epoch never donates.
    params = jax.tree.map(jnp.array, params)
    if memory is None:
        memory = update.init(params) if hasattr(update, "init") else ()
    zero = jnp.int32(0)
    return State(params, memory, extra, key, zero, zero)


@_check.pure(jit=True, static=("batch", "steps"), weights="m")
def epoch(
    update: Any,
    state: State,
    data: Any,
    *,
    batch: int,
    weights: jax.Array | None = None,
    steps: int | None = None,
) -> tuple[State, dict[str, jax.Array]]:
    """Run one epoch: batches of rows drawn without replacement, one step on each.

    data is a pytree of arrays of m rows; rows are shuffled by index, anew in each
    epoch, as the state's key and epoch say. Each batch has `batch` rows; where that
    does not divide m, the last one is padded by rows of weight 0. weights, (m,), are
    the rows' own. With steps, a divisor of the number of batches, only so many batches
    are run, from state.position on.

    Returns the state after it and the metrics of each batch, (steps,) each.
    """
    m = _rows(data)
    if batch > m:
        raise ValueError(f"batch must be in 1 … m = {m}, not {batch}")
    total = -(-m // batch)
    steps = total if steps is None else _check.count("steps", steps)
    if total % steps:
        raise ValueError(f"steps must divide the {total} batches of an epoch, not {steps}")
    own_key = jax.random.fold_in(state.key, state.epoch)
    shuffle_key, draw_key = jax.random.split(own_key)
    order = jax.random.permutation(shuffle_key, jnp.arange(m, dtype=jnp.int32))
    padding = total * batch - m
    if padding:
        order = jnp.concatenate([order, jnp.zeros(padding, jnp.int32)])
    numbers = state.position + jnp.arange(steps, dtype=jnp.int32)
    first = state.position * batch
    rows = jax.lax.dynamic_slice(order, (first,), (steps * batch,))

    def advance(carry, now):
        number, rows = now
        w = None if weights is None else weights[rows]
        if padding:
            real = number * batch + jnp.arange(batch) < m
            dtype = jnp.result_type(float) if w is None else w.dtype
            w = real.astype(dtype) if w is None else jnp.where(real, w, 0)
        taken = Batch(jax.tree.map(lambda array: array[rows], data), w)
        return update(carry, jax.random.fold_in(draw_key, number), taken)

    state, metrics = jax.lax.scan(
        advance, state, (numbers, rows.reshape(steps, batch))
    )
    position = state.position + steps
    done = position >= total
    return (
        state._replace(
            epoch=state.epoch + done, position=jnp.where(done, 0, position)
        ),
        metrics,
    )
