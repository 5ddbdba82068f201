"""Kinds of arrays, options and numbers, checked always, also while tracing."""

import functools
import operator
import typing
from collections.abc import Callable, Iterable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxml._check import ranges
from jaxml._check.annotations import Argument
from jaxml._check.ranges import concrete, is_float
from jaxml._check.shapes import Shape

MOST = 2**31 - 1  # what an int32 can count


def resolve(name: str, shape: Shape, array) -> Shape:
    """The Shape with labels set for the array that came: "classes" may be either."""
    if not shape.classes:
        return shape
    whole = not jnp.issubdtype(array.dtype, jnp.floating)
    if array.ndim == 1 and not whole and any(len(f or ()) > 1 for f in shape.forms):
        _whole(name, array, "; probabilities are (m, k)")
        whole = True
    return shape._replace(labels=whole and array.ndim == 1)


def _whole(name: str, array, more: str = "") -> None:
    """Refuse floats as labels, unless they are seen to be whole numbers."""
    must = f"{name} must hold integer labels, not"
    if not concrete(array):
        raise ValueError(f"{must} {array.dtype}{more}")
    values = np.asarray(array, np.float64)
    wrong = values[~np.isfinite(values) | (values != np.rint(values))]
    if wrong.size:
        raise ValueError(f"{must} {wrong[0]}{more}")


def static(argument: Argument, value):
    """A static argument: hashable, no array; lists become tuples.

    Where its annotation says a number, a function, a flag or a shape, it is to be one.
    """
    name, hint = argument.name, argument.hint
    if isinstance(value, (jax.Array, jax.core.Tracer)) or (
        isinstance(value, np.ndarray) and value.ndim
    ):
        raise ValueError(f"{name} must be static (a Python value), not an array")
    if value is None and argument.optional:
        return None
    value = by_value(name, value)
    if hint is bool:
        return boolean(name, value)
    if argument.limits and hint is int:
        return count(name, value, at_least=int(argument.limits[1:-1].split(",")[0]))
    if typing.get_origin(hint) is Callable and not callable(value):
        raise ValueError(f"{name} must be a function, not {value!r}")
    if typing.get_origin(hint) is Literal:
        return option(name, value, typing.get_args(hint))
    if hint == tuple[int, ...]:
        if not isinstance(value, tuple):
            raise ValueError(f"{name} must be a tuple of sizes, not {value!r}")
        return tuple(count(name, size) for size in value)
    try:
        hash(value)
    except TypeError:
        raise ValueError(f"{name} must be hashable, not {value!r}") from None
    return value


class Partial(functools.partial):
    """A functools.partial that equals its like, so that they share a program."""

    def __eq__(self, other: object) -> bool:
        """Whether function and options are equal."""
        return isinstance(other, Partial) and _parts(self) == _parts(other)

    def __hash__(self) -> int:
        """Of function and options."""
        return hash(_parts(self))


def _parts(partial: functools.partial):
    return partial.func, partial.args, tuple(sorted(partial.keywords.items()))


def by_value(name: str, value):
    """A static value that equals its like: lists become tuples, partials Partials."""
    if isinstance(value, list):
        return tuple(by_value(name, each) for each in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(by_value(name, each) for each in value))
    if not isinstance(value, functools.partial) or isinstance(value, Partial):
        return value
    args = [_fixed(name, "an argument", given) for given in value.args]
    options = {n: _fixed(name, n, given) for n, given in value.keywords.items()}
    return Partial(by_value(name, value.func), *args, **options)


def _fixed(name: str, option: str, given):
    """What a partial fixes, by value: hashable, no array."""
    if isinstance(given, (jax.Array, jax.core.Tracer, np.ndarray)):
        raise ValueError(f"{name}: {option} is compiled in: it must not be an array")
    try:
        hash(given)
    except TypeError:
        raise ValueError(f"{name}: {option} must be hashable, not {given!r}") from None
    return by_value(name, given)


def boolean(name: str, value) -> bool:
    """Give True or False, or say that value is neither."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def count(name: str, value, *, at_least: int = 1) -> int:
    """Give a Python int that sets a shape or a loop bound, or say what is wrong."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a Python int, not {value!r}") from None
    if number < at_least:
        raise ValueError(f"{name} must be at least {at_least}, not {number}")
    if number > MOST:
        raise ValueError(f"{name} must be at most {MOST}, not {number}")
    return number


def option(name: str, value, options: Iterable):
    """Give back value if it is one of options, else name them all."""
    options = list(options)
    if value not in options:
        listed = ", ".join(repr(each) for each in options)
        raise ValueError(f"{name} must be one of {listed}, not {value!r}")
    return value


def key(value) -> None:
    """Require one typed key."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        kind = f"an array of {dtype}" if dtype is not None else repr(value)
        raise ValueError(f"key must be made by jax.random.key(seed), not {kind}")
    if value.shape != ():
        raise ValueError(f"key has shape {value.shape}, not (): use jax.vmap for many")


def array(name: str, value, labels: bool):
    """Take what can be an array of numbers; NumPy memory is copied, never aliased."""
    if not isinstance(value, (jax.Array, jax.core.Tracer)):
        value = from_host(name, value)
    dtype = value.dtype
    if jnp.issubdtype(dtype, jnp.complexfloating) or jnp.issubdtype(
        dtype, jax.dtypes.extended
    ):
        raise ValueError(f"{name} must hold real numbers, not {dtype}")
    if labels:
        if not (jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_):
            _whole(name, value)
    elif not (jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_):
        raise ValueError(f"{name} must hold real numbers, not {dtype}")
    return value


def from_host(name: str, value) -> np.ndarray:
    """What is no array of JAX, as an array of NumPy that holds real numbers."""
    if value is None:
        raise ValueError(f"{name} must be an array, not None")
    if hasattr(value, "tocsr"):
        raise ValueError(f"{name} is sparse: pass {name}.toarray()")
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} is masked: give missing rows weight 0")
    typed = hasattr(value, "dtype")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} cannot be made an array: {error}") from None
    if array.dtype.kind in "OSUMmVc" and array.dtype.name != "bfloat16":
        raise ValueError(f"{name} must hold real numbers, not {array.dtype}")
    if array.dtype.kind == "f":  # big-endian and longdouble too
        array = array.astype(f"f{min(array.dtype.itemsize, 8)}", copy=False)
        # A list of floats has no width of its own.
        array = array if typed else array.astype(jnp.result_type(float))
    return array


def common_dtype(leaves):
    """The float dtype of the arguments; JAX's default where all are integers."""
    leaves = [a for a in leaves if is_float(a) and not getattr(a, "weak_type", False)]
    if not leaves:
        return jnp.result_type(float)
    return jax.dtypes.canonicalize_dtype(
        functools.reduce(jnp.promote_types, [leaf.dtype for leaf in leaves])
    )


def cast(array, dtype, program: bool = False):
    """An array of dtype, strongly typed, in memory of its own.

    What a program takes may stay on the host: it is moved there for less.
    """
    if isinstance(array, np.ndarray):
        with np.errstate(over="ignore"):  # what becomes infinite is refused by name
            copy = np.array(array, dtype)  # JAX may alias it
        return copy if program else jax.device_put(copy)
    # astype also drops a weak type, which would be traced again.
    return array.astype(dtype) if array.dtype != dtype or array.weak_type else array


def cast_labels(name: str, array, k: int | None, program: bool = False):
    """Labels as int32, looked at, where they are concrete, before they could wrap."""
    ranges.labels(name, array, k)
    return cast(array, jnp.dtype(jnp.int32), program)


def cast_leaf(dtype, leaf):
    """Floats to one dtype; a Python number has none of its own."""
    if isinstance(leaf, (int, float)):
        return jnp.asarray(leaf, dtype)
    return cast(leaf, dtype) if is_float(leaf) else leaf


def number(name: str, value, dtype, limits: str | None):
    """A scalar of the data's dtype, strongly typed, so that every value shares a trace.

    A number of the host stays there: a program takes it as it is.
    """
    if not isinstance(value, (jax.Array, jax.core.Tracer)):
        with np.errstate(over="ignore"):  # what becomes infinite is refused by name
            value = _of_host(name, value).astype(dtype)
    elif value.shape != ():
        raise ValueError(f"{name} has shape {value.shape}, not (): use jax.vmap")
    else:
        value = cast(array(name, value, labels=False), dtype)
    ranges.values(name, value, limits)
    return value


def _of_host(name: str, value) -> np.ndarray:
    """A number of the host, of which float loses nothing."""
    try:
        odd = isinstance(value, (str, bytes, np.ma.MaskedArray))
        if odd or np.ndim(value) > 0 or np.iscomplexobj(value):
            raise TypeError
        return np.asarray(float(value))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a number, not {value!r}") from None


def is_zero(value) -> bool:
    """Whether a hyper-parameter is the literal 0, so that its term can be left out."""
    return isinstance(value, (int, float)) and value == 0


def number_or_array(name: str, value, dtype, limits: str | None):
    """A hyper-parameter that is passed on: a scalar, an array or None."""
    if value is None:
        return None
    try:
        of_one = np.ndim(value) == 0
    except ValueError:  # ragged, as `array` says
        of_one = False
    if of_one:
        return number(name, value, dtype, limits)
    value = cast(array(name, value, labels=False), dtype)
    ranges.values(name, value, limits)
    return value
