"""Shapes: declarations such as "m n", and whether arrays agree with them."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax


class Shape(NamedTuple):
    """The parsed form of a shape.

    "m n"; "m|m t" for either; "" for a scalar; "..." for any; "m:labels" for integers
    that name classes, "m:labels 2" for 0 and 1; "m:classes 2" for these or P(y = 1),
    "m|m k:classes" for labels (m,) or probabilities (m, k); "m:weights" for weights of
    rows, "m:counts" for those that a fit must not scale; "k:sums" for a result that
    sums over rows, and may be more than 16 bits hold.
    """

    text: str  # as it was written
    forms: tuple[tuple[str, ...] | None, ...]  # axis letters; None for any shape
    labels: bool  # integers that name classes
    k: int | str | None  # how many classes: a number, or the axis that counts them
    classes: bool = False  # labels, or floats that are probabilities
    weights: bool = False  # of rows, of which the ratios matter
    counts: bool = False  # weights of which more than the ratios matters
    sums: bool = False  # what is never handed back in 16 bits


@functools.cache
def parse(text: str, owner: str = "") -> Shape:
    """The Shape that a declaration such as "m n" or "m:labels 2" names.

    A letter such as _rows is its owner's own, and agrees with no other's.
    """
    axes, _, kind = text.partition(":")
    forms = [
        tuple(f"{owner}.{a[1:]}" if a[0] == "_" else a for a in form.split())
        if form.strip() != "..."
        else None
        for form in axes.split("|")
    ]
    kind, _, size = kind.strip().partition(" ")
    kinds = ("labels", "classes", "weights", "counts", "sums")
    k = int(size) if size.isdigit() else size or None
    return Shape(text, tuple(forms), k=k, **{each: kind == each for each in kinds})


def spelled(forms) -> str:
    """Forms as Python writes shapes: "(m,) or (m, k)"."""
    if forms == (None,):
        return "array"
    named = [[axis.rpartition(".")[2].replace("+", " + ") for axis in f] for f in forms]
    return " or ".join(f"({', '.join(f)}{',' * (len(f) == 1)})" for f in named)


def agree(
    arrays: Mapping[str, tuple[Any, tuple]],
    together: tuple[str, ...] = (),
    known: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Give each axis letter one size; it is known, or the first array binds it.

    "n+1" is one more than n. A letter that every array may have or not is in all of
    those named `together`, or in none of any: two targets have two intercepts.
    """
    named = {a for _, forms in arrays.values() for form in forms for a in form or ()}
    sizes = {letter: k for letter, k in (known or {}).items() if letter in named}
    chosen = {}
    for name, (array, forms) in arrays.items():
        if array is None:
            raise ValueError(f"{name} must be an array, not None")
        shape = array.shape
        if forms == (None,):
            continue
        known = dict(sizes)
        form = _form(forms, shape, known)
        chosen[name] = form
        for axis, size in zip(form, shape, strict=False):
            letter, _, more = axis.partition("+")
            sizes.setdefault(letter, size - int(more or 0))
        wanted = [_axis(a, sizes) for a in form]
        try:
            chex.assert_shape(array, tuple(wanted))
        except AssertionError:
            raise ValueError(_message(name, shape, forms, known)) from None
        if 0 in shape:
            raise ValueError(f"{name} is empty: it has shape {shape}")
    lacking = _all_or_none(
        tuple((n, arrays[n][1], c) for n, c in chosen.items()), together
    )
    for name, fitting in lacking:
        raise ValueError(_message(name, arrays[name][0].shape, fitting, sizes))
    return sizes


def _axis(axis: str, sizes) -> int | None:
    """The size that an axis must have, as far as it is known."""
    letter, _, more = axis.partition("+")
    if letter.isdigit():
        return int(letter)
    return sizes[letter] + int(more or 0) if letter in sizes else None


@functools.cache
def _all_or_none(arrays, together):
    """Names of arrays that lack a letter, or have one too many, and what would fit."""
    every = [forms for _, forms, _ in arrays]
    some = {a for forms in every if len(forms) > 1 for form in forms for a in form}
    fixed = {a for forms in every for a in set.intersection(*map(set, forms))}
    result = []
    for letter in sorted(some - fixed):
        those = [each for each in arrays if any(letter in f for f in each[1])]
        first = [chosen for name, _, chosen in those if name in together][:1]
        there = not first or letter in first[0]
        for name, forms, chosen in those:
            has = letter in chosen
            if has != there and (has or name in together):
                result.append((name, [f for f in forms if (letter in f) == there]))
    return result


def _form(forms, shape, known):
    """The form of that rank that agrees with what is known, or the nearest to it."""

    def agrees(form):
        sizes = zip(form, shape, strict=True)
        return all(_axis(axis, known) in (None, s) for axis, s in sizes)

    ranked = [form for form in forms if len(form) == len(shape)]
    return next(filter(agrees, ranked), (ranked or forms)[0])


def _message(name, shape, forms, known) -> str:
    owners = {axis: axis.rpartition(".") for axis in known}  # "" if it is for all
    shown = {
        letter: known[a] for a, (o, _, letter) in owners.items() if name.startswith(o)
    }
    where = ", ".join(f"{axis} = {size}" for axis, size in shown.items())
    message = f"{name} has shape {tuple(shape)}, not {spelled(forms)}"
    return f"{message} where {where}" if where else message


def shapes(**arrays: tuple[jax.Array, str]) -> dict[str, int]:
    """Check arrays inside a function: `shapes(w=(w, "n"), x=(x, "m n"))["m"]`."""
    return agree({n: (a, parse(text).forms) for n, (a, text) in arrays.items()})
