"""Descend any cost with any optax recipe; the minimum has derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxml import _check
from jaxml.optimize.fit import Fit, Progress, iterate
from jaxml.optimize.implicit import solution
from jaxml.optimize.recipe import accepted, build, canonical

PATIENCE = 100  # steps without any improvement after which a search has stalled


@_check.fit(
    static=("cost", "solver", "schedule", "residual", "hessian", "max_iter"),
)
def minimize(
    cost: Callable[..., jax.Array],
    params: Any,
    *data: Any,
    solver: Any = optax.lbfgs,
    rate: Any = None,
    schedule: Any = None,
    residual: Callable[..., jax.Array] | None = None,
    hessian: Callable[..., jax.Array] | None = None,
    tol: Any = 1e-5,
    max_iter: int = 500,
    **hyper: Any,
) -> Fit:
    """Minimise cost(params, *data, **hyper), a scalar, from params.

    Args:
        cost: a function of params, a pytree of floats, data and hyper; static, so pass
            a function of a module, or recipe(function, option=...), not a new lambda.
        params: where to start; the start itself gets no derivative.
        data: pytrees of arrays of any shape.
        solver: recipe `rate -> optax transformation`, as optax.adam, optax.lbfgs,
            optimize.conjugate, optimize.newton or recipe(optax.sgd, momentum=0.9).
        rate: () the recipe's argument; None for solvers that search a line.
        schedule: recipe `rate -> optax schedule`, if the rate shall change.
        residual: r(params, *data, **hyper), (m,), with cost proportional to ½ Σ r²;
            for levenberg_marquardt and gauss_newton.
        hessian: H(params, *data, **hyper), (n, n) over the raveled params, if there is
            a faster way than autodiff; for newton.
        tol: () stop when the Euclidean norm of the gradient is at most tol.
        max_iter: the most steps.
        hyper: scalars, or arrays, that cost takes by name; traced.

    Returns:
        A Fit; residual is the norm of the gradient. Its params have derivatives with
        respect to data and hyper: those of the exact minimum.

    Raises:
        ValueError: an argument of the wrong kind, or values that are not finite.

    """
    transform = build(canonical("solver", solver), rate, schedule)
    fixed, constants = jax.lax.stop_gradient((data, hyper))

    def objective(params):
        return cost(params, *fixed, **constants)

    def bound(function):
        return lambda params: function(params, *fixed, **constants)

    given = {"residual_fn": residual, "hessian_fn": hessian}
    given = {n: bound(f) for n, f in given.items() if f is not None}
    extra = accepted(transform, given)

    def step(state):
        params, memory, value, grad = state
        updates, memory = transform.update(
            grad, memory, params, value=value, grad=grad, value_fn=objective, **extra
        )
        params = optax.apply_updates(params, updates)
        value, grad = _evaluate(objective, params, memory)
        return (params, memory, value, grad), Progress(value, optax.tree.norm(grad))

    _floats(params)
    params = jax.lax.stop_gradient(params)
    _scalar(jax.eval_shape(objective, params))
    value, grad = jax.value_and_grad(objective)(params)
    fit = iterate(
        step,
        (params, transform.init(params), value, grad),
        Progress(value, optax.tree.norm(grad)),
        tol=tol,
        max_iter=max_iter,
        patience=PATIENCE,
    )
    found, value = solution(cost, fit.params[0], fit.cost, fit.status, data, hyper)
    return fit._replace(params=found, cost=value)


def _floats(params) -> None:
    for leaf in jax.tree.leaves(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"params must hold floats, not {leaf.dtype}")


def _scalar(value) -> None:
    real = hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating)
    if not real or value.shape != ():
        raise ValueError(f"cost must return a real scalar, not {value}")


def _evaluate(objective, params, memory):
    """Value and gradient at params; a line search leaves them in the memory."""
    value = optax.tree.get(memory, "value", None)
    grad = optax.tree.get(memory, "grad", None)
    if value is None or grad is None:
        return jax.value_and_grad(objective)(params)
    return value, grad
