"""The usual update of a training run: a step of an optax solver down a cost."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import optax

from jaxml import _check
from jaxml._check import Positive
from jaxml.optimize import _solver
from jaxml.optimize._batches import Batch
from jaxml.optimize._epoch import State
from jaxml.optimize._solver import Solver


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
