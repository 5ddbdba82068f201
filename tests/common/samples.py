"""Sample arguments: from the names where they tell, else from the module's SAMPLES.

A module's tests, tests/test_<module>.py, may hold

    SAMPLES = {"y": …, "fit.max_iter": 5, "params": Made(lambda seed: …)}

with a value, or what makes one from a seed, for an argument of all its functions or of
one. ROUGH names functions whose derivative is not to be compared with differences, and
why; UNIQUE names fits whose answer does not depend on the params they start from; FREE
names arrays whose first axis may have any length, whatever the others have.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Made(NamedTuple):
    """A sample that is made anew, from a seed, when it is needed."""

    make: Callable[[int], Any]


SIZES = {"m": 12, "n": 3, "k": 3, "t": 2}
HYPER = {"l1": 0.05, "l2": 0.1, "learning_rate": 0.2, "temperature": 1.5}


def given(module, what: str, default: Any) -> Any:
    """The SAMPLES or ROUGH of the tests of a module."""
    name = "tests.test_" + module.__name__.rpartition(".")[2].lstrip("_")
    try:
        return getattr(importlib.import_module(name), what, default)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return default


def arguments(public, *, seed: int = 0, dtype: Any = np.float32) -> dict[str, Any]:
    """An argument for each parameter, in order: arrays as NumPy, floats of dtype."""
    own = given(public.module, "SAMPLES", {})
    rng = np.random.default_rng(seed)
    found = {}
    for name, parameter in public.parameters.items():
        value = _value(public, name, parameter, own, rng, seed)
        if value is not parameter.empty:
            declared = name in public.shapes
            value = np.asarray(value) if declared and hasattr(value, "ndim") else value
            found[name] = cast(value, dtype)
    return found


def _value(public, name, parameter, own, rng, seed):
    for key in (f"{public.name}.{name}", name):
        if key in own:
            value = own[key]
            return value.make(seed) if isinstance(value, Made) else value
    if name == "key":
        return jax.random.key(seed)
    if name in public.shapes:
        return _array(name, public.shapes[name], rng)
    keyword = parameter.kind is parameter.KEYWORD_ONLY
    if name in public.static or (keyword and name in public.trees):
        return parameter.default
    if name in HYPER:
        return HYPER[name]
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return parameter.empty
    if name == "params":
        return _params(public, own, seed)
    if parameter.default is parameter.empty:
        raise LookupError(f"{public.id}: give SAMPLES a {name!r}")
    return parameter.default


def _params(public, own, seed):
    init = getattr(public.module, "init", None)
    if init is None:
        raise LookupError(f"{public.id}: give SAMPLES 'params', there is no init")
    options = {n.removeprefix("init."): v for n, v in own.items() if n[:5] == "init."}
    return init(jax.random.key(seed), **options)


def _array(name, declared, rng):
    form = declared.forms[0]
    shape = (12, 3) if form is None else tuple(_size(name, axis) for axis in form)
    if declared.weights or declared.counts:
        return rng.uniform(0.5, 2.0, shape)
    if declared.labels or declared.classes:
        k = declared.k if isinstance(declared.k, int) else SIZES["k"]
        # Every class is there, in an order that the seed shuffles.
        return rng.permutation(np.arange(np.prod(shape)) % k).reshape(shape).astype(int)
    return rng.normal(size=shape)


def _size(name, axis):
    if axis.isdigit():
        return int(axis)
    if axis not in SIZES:
        raise LookupError(f"give SAMPLES a {name!r}: the size of {axis} is not known")
    return SIZES[axis]


def replaced(params, **fields):
    """Params, a NamedTuple or a dataclass, with other values of some fields."""
    named = hasattr(params, "_replace")
    replace = (
        params._replace if named else functools.partial(dataclasses.replace, params)
    )
    return replace(**fields)


def cast(value, dtype):
    """The floats of a tree in that dtype."""

    def leaf(a):
        if isinstance(a, (np.ndarray, jax.Array)) and jnp.issubdtype(
            a.dtype, jnp.floating
        ):
            return a.astype(dtype)
        return a

    return jax.tree.map(leaf, value)


def arrays(public, found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Those arguments whose shape is declared, None left out."""
    return {n: v for n, v in found.items() if n in public.shapes and hasattr(v, "ndim")}


def traced(public, found: dict[str, Any]) -> dict[str, Any]:
    """Those arguments that may be traced: arrays, trees, keys and hyper-parameters."""
    return {
        name: value
        for name, value in found.items()
        if name not in public.static and value is not None
    }


def call(public, found: dict[str, Any]):
    """Call the function with these arguments, positional ones by position."""
    args, kwargs = [], {}
    for name, parameter in public.parameters.items():
        if name not in found:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[name] = found[name]
        elif parameter.kind is parameter.VAR_POSITIONAL:
            args.extend(found[name])
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs.update(found[name])
        else:
            args.append(found[name])
    return public.function(*args, **kwargs)


def of_traced(public, found: dict[str, Any]):
    """The function of its traced arguments alone, and these."""
    varied = traced(public, found)

    def function(varied):
        return call(public, {**found, **varied})

    return function, varied
