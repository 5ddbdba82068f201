"""Solvers as recipes: functions of the rate, so that the rate may be traced."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import optax

from jaxml import _check


@dataclasses.dataclass(frozen=True, repr=False)
class Recipe:
    """`function(..., **options)`, compared and hashed by function and options.

    Two equal recipes share one compiled program, where two functools.partial do not.
    """

    function: Callable[..., Any]
    options: tuple[tuple[str, Any], ...]  # sorted by name

    def __call__(self, *args: Any, **more: Any) -> Any:
        """Call the function with its options."""
        return self.function(*args, **dict(self.options), **more)

    def __repr__(self) -> str:
        """Show the call that makes this recipe."""
        name = getattr(self.function, "__name__", repr(self.function))
        return f"recipe({', '.join([name, *(f'{k}={v!r}' for k, v in self.options)])})"


@_check.host
def recipe(function: Callable, **options: Any) -> Recipe:
    """A solver with options fixed: `recipe(optax.sgd, momentum=0.9)`.

    function takes the rate first and returns an optax transformation, or, for a
    schedule, an optax schedule: `recipe(optax.cosine_decay_schedule, decay_steps=100)`.
    A cost with options is one too: `recipe(feedforward.cost, loss="quadratic")`.
    Options are Python values (they are compiled in). Raises ValueError for one that
    cannot be hashed, or that function does not take.
    """
    given: Any = function
    if isinstance(given, functools.partial):
        if given.args:
            raise ValueError("function is a partial with positional arguments")
        given, options = given.func, {**given.keywords, **options}
    if isinstance(given, Recipe):
        given, options = given.function, {**dict(given.options), **options}
    function = given
    if not callable(function):
        raise ValueError(f"function must be callable, not {function!r}")
    for name, value in options.items():
        if isinstance(value, (jax.Array, jax.core.Tracer, np.ndarray)):
            raise ValueError(f"{name} is compiled in: it must not be an array")
        try:
            hash(value)
        except TypeError:
            raise ValueError(f"{name} must be hashable, not {value!r}") from None
    parameters = inspect.signature(function).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in options:
            _check.option("option", name, parameters)
    return Recipe(function, tuple(sorted(options.items())))


@_check.host
def settings(function: Any) -> dict[str, Any]:
    """The keyword arguments of a function as it stands: fixed by a recipe, or defaults.

    Without arrays, and without those that have neither.
    """
    fixed: dict[str, Any] = {}
    while isinstance(function, (Recipe, functools.partial)):
        if isinstance(function, Recipe):
            function, more = function.function, dict(function.options)
        else:
            function, more = function.func, function.keywords
        fixed = {**more, **fixed}
    parameters = inspect.signature(function).parameters.values()
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    found = {p.name: fixed.get(p.name, p.default) for p in keywords}
    return {
        name: value
        for name, value in found.items()
        if value is not inspect.Parameter.empty and not hasattr(value, "dtype")
    }


@_check.host
def names_taken(function: Any, hyper: Iterable[str]) -> list[str]:
    """Those names of hyper that a function, or a recipe of one, takes; none of None."""
    if function is None:
        return []
    fixed: dict[str, Any] = {}
    if isinstance(function, Recipe):
        fixed, function = dict(function.options), function.function
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return list(hyper)
    return [name for name in hyper if name in parameters and name not in fixed]


@_check.host
def canonical(name: str, solver: Any) -> Any:
    """A solver as a static recipe: partials become Recipes, instances are refused.

    The ValueError begins with name, the argument's.
    """
    if isinstance(solver, functools.partial):
        return recipe(solver)
    if isinstance(solver, (optax.GradientTransformation, str)) or not callable(solver):
        raise ValueError(
            f"{name} must be a recipe such as optax.adam or "
            f"optimize.recipe(optax.sgd, momentum=0.9), not {solver!r}"
        )
    return solver


@_check.host
def build(solver: Callable, rate: Any, schedule: Callable | None = None):
    """The optax transformation that `solver` makes of a rate, or of its schedule."""
    if schedule is not None:
        if rate is None:
            raise ValueError("rate must be given where there is a schedule")
        if not callable(schedule):
            raise ValueError(f"schedule must be a recipe, not {schedule!r}")
        rate = schedule(rate)
    try:
        made = solver() if rate is None else solver(rate)
    except TypeError as error:
        if rate is None and "missing" in str(error):
            name = getattr(solver, "__name__", repr(solver))
            raise ValueError(f"rate must be given: {name} has no default") from None
        raise
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(f"solver must make an optax transformation, not {made!r}")
    return optax.with_extra_args_support(made)


@_check.host
def accepted(transform: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """Those of extra that the update of an optax transform names."""
    names = inspect.signature(transform.update).parameters
    return {name: value for name, value in extra.items() if name in names}
