"""The three decorators that declare a public function, and what they make of a call."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from jaxml._check import kinds, ranges
from jaxml._check.shapes import Shape, agree, parse
from jaxml._check.trees import fields, lower, of_a_width, tree

P = ParamSpec("P")
R = TypeVar("R")


Also = Callable[[dict[str, Any]], None]  # looks at arguments, and raises ValueError


def pure(
    *,
    static: Iterable[str] = (),
    jit: bool = False,
    also: Also | None = None,
    **shapes: str,
):
    """Declare a pure function of arrays: `@pure(x="m n", weights="m")`.

    Arguments without a shape are a `key`, pytrees where they are positional or
    declared as "tree", and scalar hyper-parameters where they are keyword-only.
    `static` ones are neither. `also` sees all of them, checked one by one, before
    anything is traced here: it refuses what is wrong with several together.
    """
    return _declare("pure", tuple(static), jit, also, shapes)


def fit(*, static: Iterable[str] = (), also: Also | None = None, **shapes: str):
    """Declare a fit: as `pure`, jitted here, returning a Fit with an honest status."""
    return _declare("fit", tuple(static), True, also, shapes)


def host(function: Callable[P, R]) -> Callable[P, R]:
    """Declare a function of the host: it reads files, draws, or drives other ones."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with _own_settings():
            return function(*args, **kwargs)

    wrapper.kind = "host"  # type: ignore[attr-defined]
    return wrapper


def _declare(
    kind: str,
    static: tuple[str, ...],
    jit: bool,
    also: Also | None,
    shapes: Mapping[str, str],
):
    parsed = {name: parse(text) for name, text in shapes.items() if text != "tree"}
    trees = {name for name, text in shapes.items() if text == "tree"}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        roles = _roles(signature, parsed, static, trees)
        hands_back = signature.return_annotation

        def traced(**arguments):
            wrapper.traces += 1  # type: ignore[attr-defined]
            call = _call(function, signature, arguments)
            return _mark_invalid(call, arguments, roles) if kind == "fit" else call

        run = jax.jit(traced, static_argnames=static) if jit else traced

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            arguments = _bind(function.__name__, signature, args, kwargs)
            with _own_settings():
                low = _admit(arguments, roles, jit)
                if kind == "fit":
                    _admit_to_fit(arguments, roles)
                if also is not None:
                    also(arguments)
                result = run(**arguments)
                return result if low is None else lower(result, low, hands_back)

        wrapper.kind = kind  # type: ignore[attr-defined]
        wrapper.static = static  # type: ignore[attr-defined]
        wrapper.shapes = dict(shapes)  # type: ignore[attr-defined]
        wrapper.traces = 0  # type: ignore[attr-defined]
        return wrapper

    return decorate


@contextlib.contextmanager
def _own_settings() -> Iterator[None]:
    """Settings by which users find faults in their own code, not in a call of ours.

    A call moves its hyper-parameters to the device and promotes them on purpose.
    """
    with jax.transfer_guard("allow"), jax.numpy_dtype_promotion("standard"):
        yield


class Roles(NamedTuple):
    """What each argument of a declared function is."""

    arrays: dict[str, Shape]
    trees: dict[str, Any]  # positional pytrees, params among them: what they must be
    loose: set[str]  # arrays that may lack an axis: hyper-parameters, labels
    hyper: tuple[str, ...]  # scalar, traced, cast to the data's dtype
    more: str | None  # **name: further hyper-parameters, scalars or arrays
    static: tuple[str, ...]
    key: bool
    parameters: dict[str, inspect.Parameter]


def _roles(signature, parsed, static, trees) -> Roles:
    parameters = dict(signature.parameters)
    named = parameters.values()
    rest = [p for p in named if p.name not in {*parsed, *static, "key"}]
    scalars = [p for p in rest if p.kind is p.KEYWORD_ONLY and p.name not in trees]
    hyper = tuple(p.name for p in scalars)
    more = next((p.name for p in rest if p.kind is p.VAR_KEYWORD), None)
    trees = {p.name: p.annotation for p in rest if p.name not in {*hyper, more}}
    loose = {n for n in parsed if parameters[n].kind is parameters[n].KEYWORD_ONLY}
    loose |= {n for n, shape in parsed.items() if shape.classes}
    key = "key" in parameters
    return Roles(parsed, trees, loose, hyper, more, static, key, parameters)


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
        parameter = roles.parameters[name]
        arguments[name] = kinds.static(name, arguments[name], parameter)
    if roles.key:
        kinds.key(arguments["key"])
    given = {n: s for n, s in roles.arrays.items() if _given(n, arguments, roles)}
    # Lists and numbers of Python have no width of their own.
    typed = {name for name in given if hasattr(arguments[name], "dtype")}
    for name, shape in given.items():
        arguments[name] = kinds.array(name, arguments[name], shape.labels)
        given[name] = kinds.resolve(name, shape, arguments[name])
    for name, kind in roles.trees.items():
        arguments[name] = tree(name, arguments[name], kind)

    floats = [arguments[n] for n, s in given.items() if n in typed and not s.labels]
    floats += [a for name in roles.trees for a in of_a_width(arguments[name])]
    dtype = kinds.common_dtype(floats)
    compute = jnp.promote_types(dtype, jnp.float32)
    forms = {name: (arguments[name], shape.forms) for name, shape in given.items()}
    for name in roles.trees:
        forms |= fields(name, arguments[name])
    agree(forms, tuple(n for n in forms if n not in roles.loose))
    for name, shape in given.items():
        if shape.labels:
            k = shape.k or arguments.get("k")
            arguments[name] = kinds.cast_labels(name, arguments[name], k)
        else:
            arguments[name] = kinds.cast(arguments[name], compute)
    for name in roles.trees:
        arguments[name] = jax.tree.map(
            functools.partial(kinds.cast_leaf, compute), arguments[name]
        )
    for name in roles.hyper:
        default = roles.parameters[name].default
        value = kinds.hyper(name, arguments[name], compute, default)
        # Where nothing is jitted a Python number stays one: a literal 0 costs nothing.
        # (np.float64 is a float too, but one that would promote float32.)
        if jit or type(arguments[name]) not in (int, float):
            arguments[name] = value
    if roles.more is not None:
        more = arguments[roles.more]
        arguments[roles.more] = {
            n: kinds.any_hyper(n, v, compute) for n, v in more.items()
        }
    for name, shape in given.items():
        if shape.forms != (None,) and not shape.labels:
            ranges.values(name, arguments[name], False, None)
            if shape.classes:
                ranges.within(name, arguments[name], "[0, 1]")
    if "params" in roles.trees:
        ranges.finite("params", arguments["params"])
    return None if compute == dtype else dtype


def _admit_to_fit(arguments: dict[str, Any], roles: Roles) -> None:
    if "data" in roles.trees:
        ranges.finite("data", arguments["data"])
    weights = roles.arrays.get("weights")
    if weights and not weights.counts and arguments["weights"] is not None:
        arguments["weights"] = ranges.moderate(arguments["weights"])


def _given(name, arguments, roles) -> bool:
    if arguments[name] is None and roles.parameters[name].default is not None:
        raise ValueError(f"{name} must be an array, not None")
    return arguments[name] is not None


# --- the status of a fit -----------------------------------------------------------


def _mark_invalid(fit, arguments, roles: Roles):
    """Status INVALID where a traced value lies outside its limits."""
    from jaxml.optimize.fit import Status

    valid = jnp.bool_(True)
    hyper = {name: arguments[name] for name in roles.hyper}
    hyper |= arguments.get(roles.more, {})
    for name, value in hyper.items():
        if value is not None:
            valid &= ranges.inside(name, value)
    if arguments.get("weights") is not None:
        weight = jnp.sum(arguments["weights"])
        valid &= (weight > 0) & jnp.isfinite(weight)
    for name, shape in roles.arrays.items():
        value = arguments[name]
        if value is not None and name in ranges.LIMITS:
            valid &= ranges.inside(name, value)
        if value is None or not (shape.labels or shape.classes):
            continue
        valid &= (value >= 0).all()
        if jnp.issubdtype(value.dtype, jnp.floating):
            valid &= (value <= 1).all()
        elif isinstance(k := shape.k or arguments.get("k"), int):
            valid &= (value < k).all()
    status = jnp.where(valid, fit.status, Status.INVALID).astype(jnp.int32)
    return fit._replace(status=jnp.maximum(status, fit.status))


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
