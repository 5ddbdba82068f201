"""One epoch of a training run, and what tells how the run goes."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxml import _check
from jaxml.optimize import _batches

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


def epoch(update, state, data, batch, weights, steps=None):
    """State and metrics as `train.epoch`, and the load of each batch, (steps,).

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


class Best(NamedTuple):
    """The best validated parameters so far."""

    params: Any
    score: jax.Array  # ()
    since: jax.Array  # () int32, epochs since

    def after(self, params, score) -> "Best":
        better = score > self.score
        chosen = jax.tree.map(
            lambda new, old: jnp.where(better, new, old), params, self.params
        )
        since = jnp.where(better, 0, self.since + 1)
        return Best(chosen, jnp.where(better, score, self.score), since)


def above(cost, begin):
    """Whether a cost is above begin by more than the noise of mini-batches."""
    return cost > begin + RISE * jnp.abs(begin)


def first_cost(update, state, data, batch, weights) -> jax.Array:
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


def score(score, params, validation) -> jax.Array:
    return jnp.asarray(_check.scalar("score", score(params, *validation)))


def check_validation(validation, score, patience) -> None:
    if (validation is None) != (score is None):
        missing = "score" if score is None else "validation"
        raise ValueError(f"{missing} must be given: validation and score go together")
    if not isinstance(validation, (tuple, list, type(None))):
        raise ValueError("validation must be a tuple, of what score takes after params")
    if patience is not None and score is None:
        raise ValueError("patience needs validation and score")
