"""The three decorators that declare a public function, and what they make of a call."""

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, ParamSpec, TypeVar, overload

import jax
import jax.numpy as jnp
from jax.experimental import checkify as jax_checkify

from jaxml._check import kinds, ranges
from jaxml._check.annotations import Argument, Role, Shown, read
from jaxml._check.compiled import program
from jaxml._check.shapes import agree
from jaxml._check.trees import fields, lower, of_a_width, tree
from jaxml._status import Status

P = ParamSpec("P")
R = TypeVar("R")
Also = Callable[[dict[str, Any]], None]  # looks at arguments, and raises ValueError

# Whether a declared function is running: what it calls need not look at values again.
_INSIDE = contextvars.ContextVar("inside", default=False)


@overload
def pure(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def pure(
    *, jit: bool = False, also: Also | None = None, full_precision: bool = True
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def pure(function=None, /, *, jit=False, also=None, full_precision=True):
    """Declare a pure function of arrays by its annotations; see annotations.py.

    `also` sees all arguments, checked one by one, before anything is traced here: it
    refuses what is wrong with several together. Without full_precision, matrix products
    are as precise as jax.default_matmul_precision says, which networks leave to users.
    """
    decorate = functools.partial(_declare, "pure", jit, also, full_precision)
    return decorate if function is None else decorate(function)


@overload
def fit(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def fit(
    *, also: Also | None = None, full_precision: bool = True
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def fit(function=None, /, *, also=None, full_precision=True):
    """Declare a fit: as `pure`, jitted here, returning a Fit with an honest status."""
    decorate = functools.partial(_declare, "fit", True, also, full_precision)
    return decorate if function is None else decorate(function)


def host(function: Callable[P, R]) -> Callable[P, R]:
    """Declare a function that runs on the host: it reads files, or drives others."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with _own_settings():
            return function(*args, **kwargs)

    wrapper.kind = "host"  # type: ignore[attr-defined]
    wrapper.__signature__ = _read(function)[0]  # type: ignore[attr-defined]
    return wrapper


def precise(function: Callable[P, R]) -> Callable[P, R]:
    """Matrix products in full precision, also where hardware would round.

    What is declared above asks for it by itself; the rule of a derivative has to, since
    JAX may run it after the call that it belongs to.
    """
    return jax.default_matmul_precision("highest")(function)


def _declare(
    kind: str,
    jit: bool,
    also: Also | None,
    full_precision: bool,
    function: Callable[P, R],
):
    signature, declared = _read(function)
    run_inside = precise(function) if full_precision else function
    hands_back, defaults = signature.return_annotation, _defaults(signature)
    static = tuple(a.name for a in declared.statics)

    def traced(**arguments):
        wrapper.traces += 1  # type: ignore[attr-defined]
        inside = _INSIDE.set(True)
        try:
            result = _call(run_inside, signature, arguments)
        finally:
            _INSIDE.reset(inside)
        return _mark_invalid(result, arguments, declared) if kind == "fit" else result

    run = program(traced, static) if jit else traced

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{function.__name__}() {error}") from None
        arguments = defaults | bound.arguments
        if _INSIDE.get():
            low = _admit(arguments, declared, jit)
            result = run(**arguments)
        else:
            with _own_settings():
                low = _admit(arguments, declared, jit)
                _look_at_values(arguments, declared, kind)
                if also is not None:
                    also(arguments)
                result = run(**arguments)
        return result if low is None else lower(result, low, hands_back)

    wrapper.kind = kind  # type: ignore[attr-defined]
    wrapper.full_precision = full_precision  # type: ignore[attr-defined]
    wrapper.arguments = declared.arguments  # type: ignore[attr-defined]
    wrapper.traces = 0  # type: ignore[attr-defined]
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    return wrapper


@contextlib.contextmanager
def _own_settings() -> Iterator[None]:
    """Settings by which users find faults in their own code, not in a call of ours.

    A call moves its hyper-parameters to the device and promotes them on purpose.
    """
    with jax.transfer_guard("allow"), jax.numpy_dtype_promotion("standard"):
        yield


class Declared(NamedTuple):
    """The arguments of a function, by what they are."""

    arguments: dict[str, Argument]
    statics: list[Argument]
    keys: list[Argument]
    arrays: list[Argument]
    trees: list[Argument]
    scalars: list[Argument]
    more: str | None  # **name: further hyper-parameters, scalars or arrays
    loose: set[str]  # arrays that may lack an axis: hyper-parameters, labels


def _read(function: Callable) -> tuple[inspect.Signature, Declared]:
    """The signature, with annotations that help() shows well, and what it declares."""
    signature = inspect.signature(function)
    parameters = signature.parameters
    more = next((n for n, p in parameters.items() if p.kind is p.VAR_KEYWORD), None)
    result = {
        name: read(name, p.annotation, p.default)
        for name, p in parameters.items()
        if name != more
    }
    roles: dict[Any, list[Argument]] = {role: [] for role in (*Role, "array", "tree")}
    for argument in result.values():
        roles[argument.role or ("array" if argument.shape else "tree")].append(argument)
    roles["tree"] += roles[Role.UNCHECKED]
    arrays = roles["array"]
    keywords = {n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    loose = {a.name for a in arrays if a.of.classes or a.name in keywords}
    parts = roles[Role.STATIC], roles[Role.KEY], arrays, roles["tree"]
    declared = Declared(result, *parts, roles[Role.SCALAR], more, loose)
    shown = [
        p.replace(annotation=Shown(result[n].shown)) if n in result else p
        for n, p in parameters.items()
    ]
    return signature.replace(parameters=shown), declared


def _defaults(signature: inspect.Signature) -> dict[str, Any]:
    """The defaults of all arguments that have one, *args and **kwargs among them."""
    bound = inspect.BoundArguments(signature, {})
    bound.apply_defaults()
    return dict(bound.arguments)


def _call(function, signature, arguments):
    bound = inspect.BoundArguments(signature, arguments)
    return function(*bound.args, **bound.kwargs)


def _admit(arguments: dict[str, Any], declared: Declared, jit: bool):
    """Check kinds and shapes, convert in place; the 16-bit dtype to hand back, if any.

    Values are looked at later, so that a wrong shape is never searched for NaN.
    """
    for argument in declared.statics:
        arguments[argument.name] = kinds.static(argument, arguments[argument.name])
    for argument in declared.keys:
        kinds.key(arguments[argument.name])
    given = {a.name: a.of for a in declared.arrays if _given(a, arguments)}
    # Lists and numbers of Python have no width of their own.
    typed = {name for name in given if hasattr(arguments[name], "dtype")}
    for name, shape in given.items():
        arguments[name] = kinds.array(name, arguments[name], shape.labels)
        given[name] = kinds.resolve(name, shape, arguments[name])
    for argument in declared.trees:
        name, value = argument.name, arguments[argument.name]
        if not (value is None and argument.optional):
            arguments[name] = tree(name, value, argument.annotation)

    trees = [a.name for a in declared.trees]
    floats = [arguments[n] for n, s in given.items() if n in typed and not s.labels]
    floats += [a for name in trees for a in of_a_width(arguments[name])]
    dtype = kinds.common_dtype(floats)
    compute = jnp.promote_types(dtype, jnp.float32)
    forms = {name: (arguments[name], shape.forms) for name, shape in given.items()}
    for name in trees:
        forms |= fields(name, arguments[name])
    together = tuple(name for name in forms if name not in declared.loose)
    counts = {a.name: arguments[a.name] for a in declared.statics if a.hint is int}
    known = {name: count for name, count in counts.items() if count is not None}
    sizes = known | agree(forms, together, known)
    for name, shape in given.items():
        if shape.labels:
            k = sizes.get(shape.k) if isinstance(shape.k, str) else shape.k
            arguments[name] = kinds.cast_labels(name, arguments[name], k, jit)
        else:
            arguments[name] = kinds.cast(arguments[name], compute, jit)
    for name in trees:
        arguments[name] = jax.tree.map(
            functools.partial(kinds.cast_leaf, compute), arguments[name]
        )
    for argument in declared.scalars:
        name, value = argument.name, arguments[argument.name]
        # Where nothing is jitted a Python number stays one: a literal 0 costs nothing.
        # (np.float64 is a float too, but one that would promote float32.)
        if not (value is None and argument.optional):
            number = kinds.number(name, value, compute, argument.limits)
            if jit or type(value) not in (int, float):
                arguments[name] = number
    if declared.more is not None:
        of = _limits_of_functions(arguments, declared)
        arguments[declared.more] = {
            n: kinds.number_or_array(n, v, compute, of.get(n))
            for n, v in arguments[declared.more].items()
        }
    return None if compute == dtype else dtype


def _given(argument: Argument, arguments) -> bool:
    if arguments[argument.name] is None and not argument.optional:
        raise ValueError(f"{argument.name} must be an array, not None")
    return arguments[argument.name] is not None


def _limits_of_functions(arguments, declared: Declared) -> dict[str, str | None]:
    """The limits that functions among the arguments declare for their own."""
    result: dict[str, str | None] = {}
    for argument in declared.statics:
        result |= limits(arguments[argument.name])
    return result


def limits(function: Any) -> dict[str, str | None]:
    """The limits of the arguments of a declared function, or of a partial of one."""
    while isinstance(function, functools.partial):
        function = function.func
    declared = getattr(function, "arguments", {})
    return {name: argument.limits for name, argument in declared.items()}


def _look_at_values(arguments: dict[str, Any], declared: Declared, kind: str) -> None:
    """Refuse concrete arrays that hold what they must not; labels were looked at."""
    for argument in declared.arrays:
        name, shape, value = argument.name, argument.of, arguments[argument.name]
        if value is None or shape.forms == (None,) or not ranges.is_float(value):
            continue
        ranges.values(name, value, "[0, 1]" if shape.classes else argument.limits)
        if shape.weights or shape.counts:
            ranges.some(name, value)
        if shape.weights and kind == "fit":
            arguments[name] = ranges.moderate(value)
    for argument in declared.trees:
        if argument.role is not Role.UNCHECKED:
            ranges.finite(argument.name, arguments[argument.name])


# --- the status of a fit -----------------------------------------------------------


def _mark_invalid(fit, arguments, declared: Declared):
    """Status INVALID where a traced value lies outside its limits."""
    valid = jnp.bool_(True)
    for argument in declared.scalars:
        if (value := arguments[argument.name]) is not None:
            valid &= ranges.inside(value, argument.limits)
    of = _limits_of_functions(arguments, declared)
    for name, value in arguments.get(declared.more, {}).items():
        if value is not None:
            valid &= ranges.inside(value, of.get(name))
    for argument in declared.arrays:
        if (value := arguments[argument.name]) is not None:
            valid &= _valid(
                value, argument, arguments.get(argument.of.k, argument.of.k)
            )
    return fit.flag(~valid, Status.INVALID)


def _valid(value, argument: Argument, k: Any) -> jax.Array:
    """Whether an array holds what it may; sums of weights are positive."""
    shape, floats = argument.of, jnp.issubdtype(value.dtype, jnp.floating)
    valid = jnp.bool_(True)
    if argument.limits:
        valid &= ranges.inside(value, argument.limits)
    if shape.weights or shape.counts:
        weight = jnp.sum(value)
        valid &= (weight > 0) & jnp.isfinite(weight)
    if shape.labels or shape.classes:
        valid &= (value >= 0).all()
        if floats:
            valid &= (value <= 1).all()
        elif isinstance(k, int):
            valid &= (value < k).all()
    return valid


@host
def checkify(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function raise where its arithmetic first goes wrong, also under jit.

    `jaxml.checkify(f)(x)` runs f under checkify: NaN, division by zero and indices out
    of bounds raise checkify.JaxRuntimeError and name the line. For finding faults;
    slower than f.
    """
    errors = jax_checkify.float_checks | jax_checkify.index_checks
    run = jax.jit(jax_checkify.checkify(function, errors=errors))

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        error, result = run(*args, **kwargs)
        error.throw()
        return result

    return wrapper
