"""The words of which annotations are made, which say what an argument is.

An annotation is `Annotated[type, shape or interval, …]`. The type is what editors and
type checkers see, and what NumPy, lists and pandas satisfy; a shape is written in the
letters of the formulas ("m n", see shapes.py), an interval as in "[0, inf)". What has
no such mark is a pytree: params, or data of any kind.
"""

import enum
import inspect
import types
import typing
from typing import Annotated, Any, NamedTuple, TypeVar

import jax
import numpy as np

from jaxml._check.shapes import Shape, parse, spelled

T = TypeVar("T")


class Role(enum.Enum):
    """What an argument is where that is neither an array nor a pytree."""

    STATIC = "static"
    SCALAR = "scalar"
    KEY = "key"
    UNCHECKED = "unchecked"


Static = Annotated[T, Role.STATIC]  # a Python value, compiled in
Count = Annotated[Static[int], "[1, inf)"]
Key = Annotated[jax.Array, Role.KEY]  # made by jax.random.key

Unchecked = Annotated[T, Role.UNCHECKED]  # a pytree that may hold NaN and infinity

# Traced, and cast to the data's dtype.
Scalar = Annotated[float | np.number | jax.Array, Role.SCALAR]
NonNegative = Annotated[Scalar, "[0, inf)"]
Positive = Annotated[Scalar, "(0, inf)"]

AnyArray = jax.Array | Any  # whatever can be made one; its dtype is kept
Array = Annotated[AnyArray, "..."]  # of floats, and of any shape
Rows = Annotated[Array, "m n"]  # one row per example
Targets = Annotated[Array, "m"]
Labels = Annotated[Array, "m:labels"]  # integers 0 … k - 1
Binary = Annotated[Array, "m:classes 2"]  # 0 and 1, or P(y = 1)
Weights = Annotated[Array, "m:weights", "[0, inf)"]  # of which the ratios matter
Counts = Annotated[Array, "m:counts", "[0, inf)"]  # of which the sum matters too


class Argument(NamedTuple):
    """What an annotation and a default say about an argument."""

    name: str
    hint: Any  # the type, without marks and without None
    role: Role | None  # None for arrays, which have a shape, and for pytrees
    shape: Shape | None
    limits: str | None  # an interval
    optional: bool  # whether None is taken
    annotation: Any  # as it was written

    @property
    def of(self) -> Shape:
        """The shape of what is an array."""
        assert self.shape is not None
        return self.shape

    @property
    def shown(self) -> str:
        """The argument as help() shows it."""
        if isinstance(self.hint, str):
            return self.hint
        kind = (
            spelled(self.shape.forms) if self.shape else _spelled(self.hint, self.role)
        )
        if self.shape and (self.shape.labels or self.shape.classes):
            kind += " labels" if self.shape.labels else " labels or probabilities"
        limits = f" in {self.limits}" if self.limits else ""
        return f"{kind}{limits}{' | None' if self.optional else ''}"


def read(name: str, annotation: Any, default: Any = ...) -> Argument:
    """The Argument that an annotation and a default of this name declare."""
    hint = annotation
    optional = default is None
    marks: list[Any] = []
    while True:
        if typing.get_origin(hint) is Annotated:
            marks = [*hint.__metadata__, *marks]
            hint = hint.__origin__
        elif types.NoneType in (kinds := alternatives(hint)):
            optional = True
            kinds = tuple(k for k in kinds if k is not types.NoneType)
            hint = typing.Union[kinds]  # noqa: UP007  (of a tuple)
        else:
            break
    texts = [mark for mark in marks if isinstance(mark, str)]
    limits = [text for text in texts if text[:1] in ("[", "(")]
    shapes = [text for text in texts if text not in limits]
    role = next((mark for mark in marks if isinstance(mark, Role)), None)
    return Argument(
        name,
        hint,
        role,
        parse(shapes[-1]) if shapes else None,
        limits[-1] if limits else None,
        optional,
        annotation,
    )


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union; what is none, alone."""
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if union else (hint,)


def _spelled(hint: Any, role: Role | None) -> str:
    """A type in a few words."""
    if hint is inspect.Parameter.empty:
        return "..."
    if role in (Role.SCALAR, Role.KEY):
        return {Role.SCALAR: "number", Role.KEY: "key"}[role]
    return inspect.formatannotation(hint).replace("jaxml.", "").replace("typing.", "")


class Shown(str):
    """A text that signatures show as it is."""

    def __repr__(self) -> str:
        return str(self)
