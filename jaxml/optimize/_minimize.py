"""Descend any cost with any optax optimiser; the minimum has derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxml import _check
from jaxml._check import Count, NonNegative, Positive, Static
from jaxml.optimize import _solver
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.optimize._implicit import solution
from jaxml.optimize._search import SLACK
from jaxml.optimize._solver import Solver

DEFAULT_TOL = 1e-5  # of the gradient at the start, or of the cost, if no tol is given
PATIENCE = 100  # steps without any improvement after which a search has stalled


@_check.fit
def minimize(
    cost: Static[Callable[..., jax.Array]],
    params: Any,
    *data: Any,
    solver: Static[Solver] = optax.lbfgs,
    learning_rate: Positive | None = None,
    residual: Static[Callable[..., jax.Array] | None] = None,
    hessian: Static[Callable[..., jax.Array] | None] = None,
    tol: NonNegative | None = None,
    max_iter: Count = 500,
    **hyper: Any,
) -> Fit:
    """Minimise cost(params, *data, **hyper), a scalar, from params.

    Args:
        cost: a function of params, a pytree of floats, data and hyper; static, so pass
            a function of a module, or a functools.partial of one, not a new lambda.
        params: where to start; the start itself gets no derivative.
        data: pytrees of arrays of any shape.
        solver: an optax optimiser, as optax.adam, optax.lbfgs, optimize.conjugate or
            optimize.newton: a function of the learning rate; functools.partial fixes
            options, as in partial(optax.sgd, momentum=0.9). Or an instance, such as
            optax.adam(optax.cosine_decay_schedule(1e-2, 100)), which is compiled in.
        learning_rate: () traced; None for solvers that search a line, and instances.
        residual: r(params, *data, **hyper), (m,), with cost proportional to ½ Σ r²;
            for levenberg_marquardt and gauss_newton.
        hessian: H(params, *data, **hyper), (n, n) over the raveled params, if there is
            a faster way than autodiff; for newton.
        tol: () stop when the Euclidean norm of the gradient is at most tol, whose unit
            is that of the gradient. None for 1e-5 of the norm at the start or of
            max(1, |J|), whichever is less: in small units no start is a minimum, and
            one that is far away is no yardstick.
        max_iter: the most steps.
        hyper: scalars, or arrays, that cost takes by name; traced.

    Returns:
        A Fit; residual is the norm of the gradient. Its params have derivatives with
        respect to data and hyper: those of the exact minimum. A search along lines that
        ends above its start hands back the start; no other is CONVERGED there.

    Raises:
        ValueError: an argument of the wrong kind, or values that are not finite.

    """
    transform = _solver.build(_solver.check("solver", solver), learning_rate)
    fixed, constants = jax.lax.stop_gradient((data, hyper))

    def objective(params):
        return cost(params, *fixed, **constants)

    def bound(name, function):
        def of_params(params):
            value = function(params, *fixed, **constants)
            if not hasattr(value, "dtype"):
                raise ValueError(f"{name} must return an array, not {value}")
            return value

        return of_params

    given = {"residual": residual, "hessian": hessian}
    given = {f"{n}_fn": bound(n, f) for n, f in given.items() if f is not None}
    extra = _solver.accepted(transform, given)

    def progress(value, grad, first):
        """CONVERGED by the default rule, which goes with the cost."""
        norm = optax.tree.norm(grad)
        if tol is not None:
            return Progress(value, norm)
        small = norm <= DEFAULT_TOL * jnp.minimum(first, jnp.maximum(1, jnp.abs(value)))
        return Progress(value, norm, jnp.where(small, Status.CONVERGED, Status.RUNNING))

    def step(state):
        params, memory, value, grad = state
        updates, memory = transform.update(
            grad, memory, params, value=value, grad=grad, value_fn=objective, **extra
        )
        params = optax.apply_updates(params, updates)
        value, grad = _evaluate(objective, params, memory)
        return (params, memory, value, grad), progress(value, grad, start.residual)

    _solver.check_floats(params)
    params = jax.lax.stop_gradient(params)
    _check.scalar("cost", jax.eval_shape(objective, params))
    value, grad = jax.value_and_grad(objective)(params)
    start = progress(value, grad, optax.tree.norm(grad))
    fit = iterate(
        step,
        (params, transform.init(params), value, grad),
        start,
        tol=float(jnp.finfo(value.dtype).tiny) if tol is None else tol,
        max_iter=max_iter,
        patience=PATIENCE,
    )
    fit = _not_above(fit, params, start)
    result, value = solution(cost, fit.params[0], fit.cost, fit.status, data, hyper)
    return fit._replace(params=result, cost=value)


def _not_above(fit: Fit, params, start: Progress) -> Fit:
    """The start, where a search along lines ended above it; none converges there."""
    risen = fit.cost > start.cost + SLACK * jnp.abs(start.cost)
    status = jnp.where(
        risen & (fit.status == Status.CONVERGED), Status.STALLED, fit.status
    ).astype(jnp.int32)
    result, memory, *rest = fit.params
    if optax.tree.get(memory, "value", None) is None:
        return fit._replace(status=status)

    def choose(new, old):
        return optax.tree.where(risen, old, new)

    cost, residual = choose((fit.cost, fit.residual), (start.cost, start.residual))
    state = choose(result, params), memory, *rest
    return fit._replace(params=state, cost=cost, residual=residual, status=status)


def _evaluate(objective, params, memory):
    """Value and gradient at params; a line search leaves them in the memory."""
    value = optax.tree.get(memory, "value", None)
    grad = optax.tree.get(memory, "grad", None)
    if value is None or grad is None:
        return jax.value_and_grad(objective)(params)
    return value, grad
