"""Optimisers as optax has them: functions of the learning rate, or ready instances."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxml import _check

# An optimiser of optax: a function of the learning rate, or a transformation.
Solver: TypeAlias = (
    optax.GradientTransformation | Callable[..., optax.GradientTransformation]
)


def check(name: str, solver: Any) -> Any:
    """A static solver that equals its like; a ValueError begins with name."""
    solver = _check.by_value(name, solver)
    ready = isinstance(solver, optax.GradientTransformation)
    if not ready and (isinstance(solver, str) or not callable(solver)):
        raise ValueError(
            f"{name} must be an optimiser such as optax.adam, optax.adam(1e-2) or "
            f"functools.partial(optax.sgd, momentum=0.9), not {solver!r}"
        )
    return solver


def build(solver: Any, learning_rate: Any) -> optax.GradientTransformationExtraArgs:
    """The optax transformation that a solver is, or makes of a learning rate."""
    if isinstance(solver, optax.GradientTransformation):
        if learning_rate is not None:
            raise ValueError("learning_rate must be None: solver is made with its own")
        return optax.with_extra_args_support(solver)
    try:
        made = solver() if learning_rate is None else solver(learning_rate)
    except TypeError as error:
        if learning_rate is None and "missing" in str(error):
            function = getattr(solver, "func", solver)  # of a partial
            name = getattr(function, "__name__", repr(function))
            raise ValueError(
                f"learning_rate must be given: {name} has no default"
            ) from None
        raise
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(f"solver must make an optax transformation, not {made!r}")
    return optax.with_extra_args_support(made)


def check_floats(params: Any) -> None:
    """Refuse params that are no floats."""
    for leaf in jax.tree.leaves(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"params must hold floats, not {leaf.dtype}")


def names_of_each(caller: str, functions: Any, hyper: Iterable[str]) -> list[list[str]]:
    """What `names_taken` says of each function; a TypeError where none takes a name."""
    taken = [names_taken(function, hyper) for function in functions]
    for name in hyper:
        if not any(name in names for names in taken):
            raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}")
    return taken


def names_taken(function: Any, hyper: Iterable[str]) -> list[str]:
    """Those names of hyper that a function, or partial, takes; none of None."""
    if function is None:
        return []
    fixed = function.keywords if isinstance(function, functools.partial) else {}
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return list(hyper)
    return [name for name in hyper if name in parameters and name not in fixed]


def accepted(transform: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """Those of extra that the update of an optax transform names."""
    names = inspect.signature(transform.update).parameters
    return {name: value for name, value in extra.items() if name in names}
