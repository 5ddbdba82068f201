"""Kinds of arrays, options and numbers, checked always, also while tracing."""

import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml._check.ranges import concrete, is_float, label_values, within
from jaxml._check.shapes import Shape

# Static arguments that count something, and the least they may be.
COUNTS = {
    "batch": 1,
    "bins": 1,
    "burn": 0,
    "chunk": 1,
    "count": 1,
    "ddof": 0,
    "degree": 0,
    "epochs": 1,
    "every": 1,
    "items": 1,
    "k": 1,
    "max_inner": 1,
    "max_iter": 1,
    "order": 1,
    "patience": 1,
    "q": 1,
    "sites": 1,
    "sweeps": 1,
    "users": 1,
}


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


def static(name: str, value, parameter: inspect.Parameter):
    """A static argument: hashable, no array; lists become tuples, counts are ints.

    Where a function or a shape is annotated, it has to be one.
    """
    default = parameter.default
    if isinstance(value, (jax.Array, jax.core.Tracer)) or (
        isinstance(value, np.ndarray) and value.ndim
    ):
        raise ValueError(f"{name} must be static (a Python value), not an array")
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(default, bool):
        return boolean(name, value)
    if value is not None or default is not None:
        value = _annotated(name, value, parameter.annotation)
    if name in COUNTS and not (value is None and default is None):
        value = count(name, value, at_least=COUNTS[name])
    try:
        hash(value)
    except TypeError:
        raise ValueError(f"{name} must be hashable, not {value!r}") from None
    return value


def _annotated(name: str, value, annotation):
    """A value of the kinds that an annotation tells apart."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        kinds = [a for a in typing.get_args(annotation) if a is not type(None)]
        annotation = kinds[0] if len(kinds) == 1 else Any
    if typing.get_origin(annotation) is Callable and not callable(value):
        raise ValueError(f"{name} must be a function, not {value!r}")
    if annotation == tuple[int, ...]:
        if not isinstance(value, tuple):
            raise ValueError(f"{name} must be a tuple of sizes, not {value!r}")
        return tuple(count(name, size) for size in value)
    return value


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
    """Refuse what is no single new-style key."""
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


def cast(array, dtype):
    """An array of dtype, strongly typed, in memory of its own."""
    if isinstance(array, np.ndarray):
        with np.errstate(over="ignore"):  # what becomes infinite is refused by name
            return jnp.array(array, dtype)  # jnp.array copies, jnp.asarray may alias
    # astype also drops a weak type, which would be traced again.
    return array.astype(dtype) if array.dtype != dtype or array.weak_type else array


def cast_labels(name: str, array, k):
    """Labels as int32, looked at, where they are concrete, before they could wrap."""
    if concrete(array):
        label_values(name, np.asarray(array), k)
    return cast(array, jnp.dtype(jnp.int32))


def cast_leaf(dtype, leaf):
    """Floats to one dtype; a Python number has none of its own."""
    if isinstance(leaf, (int, float)):
        return jnp.asarray(leaf, dtype)
    return cast(leaf, dtype) if is_float(leaf) else leaf


def hyper(name: str, value, dtype, default):
    """A scalar of the data's dtype, strongly typed, so that every value shares a trace.

    Only an argument whose default is None may be None.
    """
    if value is None and default is None:
        return None
    if not isinstance(value, (jax.Array, jax.core.Tracer)):
        value = _number(name, value)
    elif value.shape != ():
        raise ValueError(f"{name} has shape {value.shape}, not (): use jax.vmap")
    else:
        value = array(name, value, labels=False)
    value = cast(value, dtype)
    within(name, value)
    return value


def _number(name: str, value) -> np.ndarray:
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


def any_hyper(name: str, value, dtype):
    """A hyper-parameter that is passed on: a scalar, an array or None."""
    try:
        scalar = np.ndim(value) == 0
    except ValueError:  # ragged, as `array` says
        scalar = False
    if scalar:
        return hyper(name, value, dtype, None)
    value = cast(array(name, value, labels=False), dtype)
    within(name, value)
    return value
