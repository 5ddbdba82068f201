"""What may come in: shapes and values, checked in the symbols of the formulas.

Every public function is declared with one of three decorators, which say the shape of
each array once (`x="m n", y="m"`) and do the same for all of them:

1. Always, also while tracing: kind, rank and agreement of shapes, static options, keys.
2. Values (NaN, negative weights, labels out of range) where an array is concrete.
3. Under jit and vmap the same faults become the `status` of the Fit.

Integers, lists and NumPy arrays become floats of JAX's default width; float16 and
bfloat16 are computed in float32 and handed back.
"""

import functools
import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

P = ParamSpec("P")
R = TypeVar("R")

# Where a hyper-parameter may lie, by its name: an interval as one writes it.
LIMITS = {
    "weights": "[0, inf)",
    "l1": "[0, inf)",
    "l2": "[0, inf)",
    "rate": "(0, inf)",
    "tol": "[0, inf)",
}
# Static arguments that count something, and the least they may be.
COUNTS = {
    "batch": 1,
    "bins": 1,
    "ddof": 0,
    "epochs": 1,
    "k": 1,
    "max_iter": 1,
    "patience": 1,
}


class Shape(NamedTuple):
    """The parsed form of a shape.

    "m n"; "m|m t" for either; "" for a scalar; "..." for any; "m:labels" for integers
    that name classes, "m:labels 2" for 0 and 1.
    """

    forms: tuple[tuple[str, ...] | None, ...]  # axis letters; None for any shape
    labels: bool  # integers that name classes
    k: int | None  # how many classes, if the declaration says so


def _parse(text: str) -> Shape:
    axes, _, kind = text.partition(":")
    forms = [None if f.strip() == "..." else tuple(f.split()) for f in axes.split("|")]
    labels, _, k = kind.strip().partition(" ")
    return Shape(tuple(forms), labels == "labels", int(k) if k else None)


# --- the decorators ----------------------------------------------------------------


def pure(*, static: Iterable[str] = (), jit: bool = False, **shapes: str):
    """Declare a pure function of arrays: `@pure(x="m n", weights="m")`.

    Arguments without a shape are a `key`, pytrees where they are positional or
    declared as "tree", and scalar hyper-parameters where they are keyword-only.
    `static` ones are neither.
    """
    return _declare("pure", tuple(static), jit, shapes)


def fit(*, static: Iterable[str] = (), **shapes: str):
    """Declare a fit: as `pure`, jitted here, returning a Fit with an honest status."""
    return _declare("fit", tuple(static), True, shapes)


def host(function: Callable[P, R]) -> Callable[P, R]:
    """Declare a function of the host: it reads files, draws, or drives other ones."""
    function.kind = "host"  # type: ignore[attr-defined]
    return function


def _declare(kind: str, static: tuple[str, ...], jit: bool, shapes: Mapping[str, str]):
    parsed = {name: _parse(text) for name, text in shapes.items() if text != "tree"}
    trees = {name for name, text in shapes.items() if text == "tree"}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        roles = _roles(signature, parsed, static, trees)

        def traced(**arguments):
            wrapper.traces += 1  # type: ignore[attr-defined]
            call = _call(function, signature, arguments)
            return _mark_invalid(call, arguments, roles) if kind == "fit" else call

        run = jax.jit(traced, static_argnames=static) if jit else traced

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            arguments = _bind(function.__name__, signature, args, kwargs)
            low = _admit(arguments, roles, jit)
            if kind == "fit" and "data" in roles.trees:
                finite("data", arguments["data"])
            result = run(**arguments)
            return result if low is None else _lower(result, low)

        wrapper.kind = kind  # type: ignore[attr-defined]
        wrapper.static = static  # type: ignore[attr-defined]
        wrapper.shapes = dict(shapes)  # type: ignore[attr-defined]
        wrapper.traces = 0  # type: ignore[attr-defined]
        return wrapper

    return decorate


class Roles(NamedTuple):
    """What each argument of a declared function is."""

    arrays: dict[str, Shape]
    trees: tuple[str, ...]  # positional pytrees, params among them
    hyper: tuple[str, ...]  # scalar, traced, cast to the data's dtype
    more: str | None  # **name: further hyper-parameters, scalars or arrays
    static: tuple[str, ...]
    key: bool
    defaults: dict[str, Any]


def _roles(signature, parsed, static, trees) -> Roles:
    named = signature.parameters.values()
    rest = [p for p in named if p.name not in {*parsed, *static, "key"}]
    scalars = [p for p in rest if p.kind is p.KEYWORD_ONLY and p.name not in trees]
    hyper = tuple(p.name for p in scalars)
    more = next((p.name for p in rest if p.kind is p.VAR_KEYWORD), None)
    trees = tuple(p.name for p in rest if p.name not in {*hyper, more})
    defaults = {p.name: p.default for p in named}
    return Roles(parsed, trees, hyper, more, static, "key" in defaults, defaults)


def _bind(name, signature, args, kwargs) -> dict[str, Any]:
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}() {error}") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _call(function, signature, arguments):
    bound = inspect.BoundArguments(signature, arguments)
    return function(*bound.args, **bound.kwargs)


def _admit(arguments: dict[str, Any], roles: Roles, jit: bool):
    """Check and convert the arguments in place; the 16-bit dtype to hand back, if any.

    Values are looked at last, so that a wrong shape is never searched for NaN.
    """
    for name in roles.static:
        arguments[name] = _static(name, arguments[name], roles.defaults[name])
    if roles.key:
        key(arguments["key"])
    given = {n: s for n, s in roles.arrays.items() if _given(n, arguments, roles)}
    for name, shape in given.items():
        arguments[name] = array(name, arguments[name], shape.labels)
    for name in roles.trees:
        arguments[name] = jax.tree.map(functools.partial(_leaf, name), arguments[name])

    floats = [arguments[n] for n, s in given.items() if not s.labels]
    dtype = _common(floats, [arguments[name] for name in roles.trees])
    compute = jnp.promote_types(dtype, jnp.float32)
    for name, shape in given.items():
        to = jnp.dtype(jnp.int32) if shape.labels else compute
        arguments[name] = _cast(arguments[name], to)
    for name in roles.trees:
        arguments[name] = jax.tree.map(
            functools.partial(_cast_leaf, compute), arguments[name]
        )
    _agree({name: (arguments[name], shape.forms) for name, shape in given.items()})
    for name in roles.hyper:
        value = _hyper(name, arguments[name], compute, roles.defaults[name])
        # Where nothing is jitted a Python number stays one: a literal 0 costs nothing.
        # (np.float64 is a float too, but one that would promote float32.)
        if jit or type(arguments[name]) not in (int, float):
            arguments[name] = value
    if roles.more is not None:
        more = arguments[roles.more]
        arguments[roles.more] = {n: _any_hyper(n, v, compute) for n, v in more.items()}
    for name, shape in given.items():
        if shape.forms != (None,):
            k = shape.k or arguments.get("k")
            values(name, arguments[name], shape.labels, k)
    return None if compute == dtype else dtype


def _given(name, arguments, roles) -> bool:
    if arguments[name] is None and roles.defaults[name] is not None:
        raise ValueError(f"{name} must be an array, not None")
    return arguments[name] is not None


# --- layer 1: kinds and shapes, always ---------------------------------------------


def _static(name: str, value, default):
    """A static argument: hashable, no array; lists become tuples, counts are ints."""
    if isinstance(value, (jax.Array, jax.core.Tracer)) or (
        isinstance(value, np.ndarray) and value.ndim
    ):
        raise ValueError(f"{name} must be static (a Python value), not an array")
    if isinstance(value, list):
        value = tuple(value)
    if name in COUNTS and not (value is None and default is None):
        value = count(name, value, at_least=COUNTS[name])
    try:
        hash(value)
    except TypeError:
        raise ValueError(f"{name} must be hashable, not {value!r}") from None
    return value


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
        value = _from_host(name, value)
    dtype = value.dtype
    if labels:
        if not (jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_):
            raise ValueError(f"{name} must hold integer labels, not {dtype}")
    elif jnp.issubdtype(dtype, jnp.complexfloating) or not (
        jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_
    ):
        raise ValueError(f"{name} must hold real numbers, not {dtype}")
    return value


def _from_host(name: str, value) -> np.ndarray:
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


def _leaf(name: str, leaf):
    """One leaf of a pytree of parameters: arrays as they are, host numbers taken."""
    if isinstance(leaf, (jax.Array, jax.core.Tracer)):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise ValueError(f"{name} must hold real numbers, not {leaf.dtype}")
        return leaf
    if isinstance(leaf, (int, float)) or callable(leaf):
        return leaf
    if isinstance(leaf, (np.ndarray, np.generic)):
        return jnp.array(_from_host(name, leaf))
    raise ValueError(f"{name} must be a pytree of arrays; it holds {leaf!r}")


def _is_float(leaf) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def _common(arrays, trees):
    """The float dtype of the arguments; JAX's default where all are integers."""
    leaves = [a for a in [*arrays, *jax.tree.leaves(trees)] if _is_float(a)]
    leaves = [a for a in leaves if not getattr(a, "weak_type", False)]
    if not leaves:
        return jnp.result_type(float)
    return jax.dtypes.canonicalize_dtype(
        functools.reduce(jnp.promote_types, [leaf.dtype for leaf in leaves])
    )


def _cast(array, dtype):
    if isinstance(array, np.ndarray):
        with np.errstate(over="ignore"):  # what becomes infinite is refused by name
            return jnp.array(array, dtype)  # jnp.array copies, jnp.asarray may alias
    # astype also drops a weak type, which would be traced again.
    return array.astype(dtype) if array.dtype != dtype or array.weak_type else array


def _cast_leaf(dtype, leaf):
    """Floats to one dtype; a Python number has none of its own."""
    if isinstance(leaf, (int, float)):
        return jnp.asarray(leaf, dtype)
    return _cast(leaf, dtype) if _is_float(leaf) else leaf


def _agree(arrays: Mapping[str, tuple[Any, tuple]]) -> dict[str, int]:
    """Give each axis letter one size; the first array to use a letter binds it."""
    sizes: dict[str, int] = {}
    for name, (array, forms) in arrays.items():
        shape = array.shape
        if forms == (None,):
            continue
        form = next((f for f in forms if len(f) == len(shape)), forms[0])
        known = dict(sizes)
        for axis, size in zip(form, shape, strict=False):
            sizes.setdefault(axis, size)
        wanted = [int(a) if a.isdigit() else sizes.get(a) for a in form]
        try:
            chex.assert_shape(array, tuple(wanted))
        except AssertionError:
            raise ValueError(_shape_message(name, shape, forms, known)) from None
        if 0 in shape:
            raise ValueError(f"{name} is empty: it has shape {shape}")
    return sizes


def _shape_message(name, shape, forms, known) -> str:
    spelled = [f"({', '.join(f)}{',' * (len(f) == 1)})" for f in forms]
    where = ", ".join(f"{axis} = {size}" for axis, size in known.items())
    message = f"{name} has shape {tuple(shape)}, not {' or '.join(spelled)}"
    return f"{message} where {where}" if where else message


def shapes(**arrays: tuple[jax.Array, str]) -> dict[str, int]:
    """Check arrays inside a function: `shapes(w=(w, "n"), x=(x, "m n"))["m"]`."""
    return _agree({n: (a, _parse(text).forms) for n, (a, text) in arrays.items()})


def _hyper(name: str, value, dtype, default):
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
    value = _cast(value, dtype)
    _within(name, value)
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


def _any_hyper(name: str, value, dtype):
    """A hyper-parameter that is passed on: a scalar, an array or None."""
    try:
        scalar = np.ndim(value) == 0
    except ValueError:  # ragged, as `array` says
        scalar = False
    if scalar:
        return _hyper(name, value, dtype, None)
    value = _cast(array(name, value, labels=False), dtype)
    _within(name, value)
    return value


# --- layer 2: values, where they are concrete --------------------------------------


def _concrete(array) -> bool:
    return not isinstance(array, jax.core.Tracer) and array.is_fully_addressable


@jax.jit
def _all_finite(array):
    return jnp.isfinite(array).all()


def values(name: str, array, labels: bool, k) -> None:
    """Refuse what is not finite or out of range, where the array is concrete."""
    if not _concrete(array):
        return
    if next(iter(array.devices())).platform != "cpu" and not labels:
        finite = _all_finite(array)
        if isinstance(finite, jax.core.Tracer) or bool(finite):
            return
    values = np.asarray(array)
    if labels:
        _label_values(name, values, k)
    else:
        # The sum is finite where all are, but for overflow: look closer only then.
        with np.errstate(over="ignore", invalid="ignore"):
            total = values.sum()
        if not np.isfinite(total):
            _finite_values(name, values)
        _within(name, array)
        if name == "weights" and not values.any():
            raise ValueError("weights are all zero")


def finite(name: str, tree) -> None:
    """Refuse NaN and infinity in the floats of a concrete pytree."""
    for leaf in jax.tree.leaves(tree):
        if _is_float(leaf):
            values(name, leaf, False, None)


def _finite_values(name: str, values: np.ndarray) -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if not len(wrong):
        return
    first = ", ".join(str(i) for i in wrong[0])
    place = f"index ({first})"
    if values.ndim == 1:
        place = f"row {first}"
    elif values.ndim == 2:
        place = f"row {wrong[0][0]}, column {wrong[0][1]}"
    number = f"{len(wrong)} non-finite value{'s' * (len(wrong) > 1)}"
    order = ", the first" if len(wrong) > 1 else ""
    raise ValueError(f"{name} holds {number}{order} at {place}")


def _label_values(name: str, values: np.ndarray, k) -> None:
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0:
        raise ValueError(f"{name} holds the label {low}; labels count from 0")
    if isinstance(k, int) and high >= k:
        raise ValueError(f"{name} holds the label {high}, not one of 0 … {k - 1}")


def _interval(name: str) -> tuple[float, float, bool, bool] | None:
    text = LIMITS.get(name)
    if text is None:
        return None
    low, high = text[1:-1].split(",")
    return float(low), float(high), text[0] == "(", text[-1] == ")"


def _inside(name: str, value, xp=jnp):
    """Whether every entry of value lies in LIMITS[name]; NaN never does."""
    interval = _interval(name)
    if interval is None:
        return xp.isfinite(value).all()
    low, high, open_low, open_high = interval
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    return (above & below).all()


def _within(name: str, value) -> None:
    if not _concrete(value) or _inside(name, values := np.asarray(value), np):
        return
    if (interval := LIMITS.get(name)) is None:
        raise ValueError(f"{name} must be finite, not {values}")
    if values.ndim:
        entries = enumerate(values.ravel())
        index, value = next((i, v) for i, v in entries if not _inside(name, v, np))
        raise ValueError(f"{name} must lie in {interval}; the entry {index} is {value}")
    raise ValueError(f"{name} must lie in {interval}, not {values}")


# --- layer 3: the status of a fit --------------------------------------------------


def _mark_invalid(fit, arguments, roles: Roles):
    """Status INVALID where a traced value lies outside its limits."""
    from jaxml.optimize.fit import Status

    valid = jnp.bool_(True)
    hyper = {name: arguments[name] for name in roles.hyper}
    hyper |= arguments.get(roles.more, {})
    for name, value in hyper.items():
        if value is not None:
            valid &= _inside(name, value)
    if arguments.get("weights") is not None:
        weights = arguments["weights"]
        valid &= _inside("weights", weights) & (jnp.sum(weights) > 0)
    for name, shape in roles.arrays.items():
        if shape.labels and arguments[name] is not None:
            valid &= (arguments[name] >= 0).all()
            if isinstance(k := shape.k or arguments.get("k"), int):
                valid &= (arguments[name] < k).all()
    status = jnp.where(valid, fit.status, Status.INVALID).astype(jnp.int32)
    return fit._replace(status=jnp.maximum(status, fit.status))


def _lower(result, dtype):
    """Hand floats back in the caller's 16-bit dtype."""
    return jax.tree.map(lambda a: a.astype(dtype) if _is_float(a) else a, result)


@host
def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function raise where its arithmetic first goes wrong, also under jit.

    `jaxml.checked(f)(x)` runs f under checkify: NaN, division by zero and indices out
    of bounds raise checkify.JaxRuntimeError and name the line. For finding faults;
    slower than f.
    """
    errors = checkify.float_checks | checkify.index_checks
    run = jax.jit(checkify.checkify(function, errors=errors))

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        error, result = run(*args, **kwargs)
        error.throw()
        return result

    return wrapper
