"""Pytrees: params and what else comes as a NamedTuple, a tuple or a mapping."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxml._check.annotations import Role, alternatives, read
from jaxml._check.kinds import by_value, from_host, static
from jaxml._check.ranges import is_float
from jaxml._check.shapes import Shape, parse

T = TypeVar("T")


def tree(name: str, value, hint):
    """A pytree of the kind that its annotation says, down to the fields of Params.

    Lists of numbers in it become arrays. What has a shape is an array, and None only
    where that is said too: `Annotated[Any, "rows", None]`.
    """
    marks = getattr(hint, "__metadata__", ())
    hint = hint.__origin__ if marks else hint
    several = alternatives(hint)
    if value is None and (types.NoneType in several or None in marks):
        return None
    kinds = [k for k in several if k is not types.NoneType]
    kind, origin = kinds[0], typing.get_origin(kinds[0])
    if field_names(kind):
        return _fields(name, value, kinds)
    if kind is jax.Array or any(isinstance(mark, str) for mark in marks):
        if not (hasattr(value, "dtype") or _numbers(value) or _is_number(value)):
            raise ValueError(f"{name} must be an array, not {_kind(value)}")
        return leaf(name, value)
    if origin is tuple:
        return _tuple(name, value, typing.get_args(kind))
    if origin is Mapping and not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a dict of arrays, not {_kind(value)}")
    return jax.tree.map(functools.partial(leaf, name), value, is_leaf=_numbers)


def field_names(kind) -> tuple[str, ...]:
    """The fields of a NamedTuple or of a class of `params`; none of anything else."""
    return getattr(kind, "_fields", getattr(kind, "__dataclass_fields__", ()))


def _fields(name: str, value, kinds):
    """A NamedTuple, or an instance of a class of `params`, of one of these kinds."""
    own = tuple(field_names(type(value)))
    kind = next((k for k in kinds if own and own == tuple(field_names(k))), None)
    if kind is None:
        models = [f"{k.__module__.replace('._', '.')}.{k.__name__}" for k in kinds]
        listed = zip(models, (", ".join(field_names(k)) for k in kinds), strict=True)
        wanted = " or ".join(f"a {model}({fields})" for model, fields in listed)
        raise ValueError(
            f"{name} must be {wanted}, not {_kind(value)}{_mend(name, value)}"
        )
    hints = hints_of(kind)
    each = (_field(f"{name}.{f}", getattr(value, f), hints[f]) for f in own)
    return type(value)(*each)


def _field(name: str, value, hint):
    argument = read(name, hint)
    fixed = argument.role is Role.STATIC
    return static(argument, value) if fixed else tree(name, value, hint)


@typing.dataclass_transform(frozen_default=True)
def params(kind: type[T]) -> type[T]:
    """A frozen dataclass of parameters: arrays, and what is Static among its fields.

    A pytree of its arrays. The static fields, which say how these are to be read, are
    compared by value, and belong to the structure of the tree.
    """

    def by_values(self):
        for name in fixed:
            value = by_value(name, getattr(self, name))
            object.__setattr__(self, name, value)

    kind.__post_init__ = by_values  # type: ignore[attr-defined]
    kind = dataclasses.dataclass(frozen=True)(kind)
    hints = hints_of(kind)
    fixed = [
        name for name, hint in hints.items() if read(name, hint).role is Role.STATIC
    ]
    arrays = [name for name in hints if name not in fixed]
    return jax.tree_util.register_dataclass(kind, arrays, fixed)


def _kind(value) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _mend(name: str, value) -> str:
    """What to do where a whole Fit was handed on."""
    params = getattr(value, "params", None)
    is_fit = isinstance(params, tuple) or field_names(type(params))
    return f": pass {name}.params" if is_fit else ""


def _tuple(name: str, value, kinds):
    """A tuple of arrays, so many or, with an ellipsis, any number."""
    many = kinds[-1] is Ellipsis
    length = "" if many else f"{len(kinds)} "
    if not isinstance(value, (tuple, list)) or hasattr(value, "_fields") or not value:
        mend = _mend(name, value)
        raise ValueError(
            f"{name} must be a tuple of {length}arrays, not {_kind(value)}{mend}"
        )
    if not many and len(value) != len(kinds):
        raise ValueError(
            f"{name} must be a tuple of {length}arrays, not of {len(value)}"
        )
    return tuple(
        tree(f"{name}[{i}]", each, kinds[0] if many else kinds[i])
        for i, each in enumerate(value)
    )


def fields(name: str, value) -> dict[str, tuple[Any, tuple]]:
    """The fields of a NamedTuple, or of Params, whose annotation is a shape, and forms.

    `w: Annotated[jax.Array, "n|n t"]`; one that is None is left out.
    """
    result = {}
    for field, hint in hints_of(type(value)).items():
        leaf, path, shape = getattr(value, field), f"{name}.{field}", _shape(hint, name)
        if shape is not None and leaf is not None:
            leaf = leaf if hasattr(leaf, "shape") else np.asarray(leaf)
            result[path] = leaf, shape.forms
        elif field_names(type(leaf)):
            result |= fields(path, leaf)
    return result


def _shape(hint, owner: str = "") -> Shape | None:
    """The shape that an annotation names."""
    texts = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, str)]
    return parse(texts[-1], owner) if texts else None


def lower(result, dtype, hint):
    """A result with its floats in a 16-bit dtype, but for what sums over rows."""
    if _sums(hint):
        return result
    if field_names(type(result)):
        each = (lower(value, dtype, hint) for value, hint in _hinted(result))
        return type(result)(*each)
    return jax.tree.map(lambda a: a.astype(dtype) if is_float(a) else a, result)


def of_a_width(value, hint=None) -> list:
    """The leaves of a pytree that have the caller's width: not what sums over rows."""
    if _sums(hint):
        return []
    if field_names(type(value)):
        return [a for v, hint in _hinted(value) for a in of_a_width(v, hint)]
    return jax.tree.leaves(value)


def _sums(hint) -> bool:
    shape = _shape(hint)
    return shape is not None and shape.sums


def _hinted(value):
    """The fields of a NamedTuple or of Params, each with its annotation."""
    hints = hints_of(type(value))
    return [
        (getattr(value, name), hints.get(name)) for name in field_names(type(value))
    ]


def hints_of(kind) -> dict[str, Any]:
    """The annotations of a NamedTuple's or of Params' fields; none of anything else."""
    if dataclasses.is_dataclass(kind):
        return {f.name: f.type for f in dataclasses.fields(kind)}
    return kind.__annotations__ if hasattr(kind, "_fields") else {}


def scalar(name: str, value):
    """What a function called name returned, if that is one real number."""
    number = hasattr(value, "dtype") or _is_number(value)
    real = number and not jnp.issubdtype(jnp.result_type(value), jnp.complexfloating)
    if not real or jnp.shape(value) != ():
        raise ValueError(f"{name} must return a real scalar, not {value}")
    return value


def like(name: str, value, params):
    """What a function called name returned, if that is a pytree like params."""
    shapes = [jax.tree.map(jnp.shape, each) for each in (value, params)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{name} must return what is like params, not {value}")
    return value


def _numbers(node) -> bool:
    """Whether a node is a list of numbers, maybe of several axes."""
    return isinstance(node, list) and all(_is_number(e) or _numbers(e) for e in node)


def _is_number(value) -> bool:
    return isinstance(value, (int, float, np.generic))


def leaf(name: str, leaf):
    """One leaf of a pytree of parameters: arrays as they are, host numbers taken."""
    if isinstance(leaf, (jax.Array, jax.core.Tracer)):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise ValueError(f"{name} must hold real numbers, not {leaf.dtype}")
        return leaf
    if isinstance(leaf, (int, float)):
        return leaf
    if isinstance(leaf, (np.ndarray, np.generic, list)):
        return jnp.array(from_host(name, leaf))
    raise ValueError(f"{name} must be a pytree of arrays; it holds {leaf!r}")
