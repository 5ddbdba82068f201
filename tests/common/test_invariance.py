"""What no answer may depend on: rows of weight 0, units, origins, stored labels.

How a module's arguments and answers change is declared in symmetries.py.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import Fit
from jaxml._check.trees import field_names
from tests.common import samples
from tests.common.symmetries import COMPARED, GIVEN, ORIGINS, ROWS, UNITS
from tests.common.test_protocol import DECLARED, _is_float, each, refused
from tests.common.walk import Public


def agree(public: Public, found, wanted, rtol=None):
    """Equal to what rounding and tolerances leave open, each leaf on its own scale."""
    rtol = rtol or (1e-3 if public.kind == "fit" else 1e-4)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a, float), np.asarray(b, float)
        assert a.shape == b.shape
        finite = np.abs(b[np.isfinite(b)])
        atol = rtol * finite.max(initial=0)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def answer(public: Public, result):
    """What is compared of a result: of a fit where it led, not the way it took."""

    def led(node):
        if isinstance(node, Fit):
            return {n: getattr(node, n) for n in ("params", "cost", "status")}
        if jnp.issubdtype(getattr(node, "dtype", None), jax.dtypes.prng_key):
            return jax.random.key_data(node)
        return node

    return jax.tree.map(led, result, is_leaf=lambda node: isinstance(node, Fit))


def module_name(public: Public) -> str:
    return public.module.__name__.rpartition(".")[2].lstrip("_")


# --- weights ------------------------------------------------------------------------


WEIGHTED = [p for p in DECLARED if "weights" in p.shapes]


class Rows(NamedTuple):
    """Arguments in which some rows have weight 0."""

    found: dict[str, Any]
    m: int  # how many rows there are
    zero: list[int]  # those of weight 0


def weighted(public: Public) -> Rows:
    """The sample arguments with some weights set to 0."""
    found = samples.arguments(public)
    given = GIVEN.get(module_name(public), {})
    found |= {name: given[name] for name in given if name in found}
    weights = np.array(found["weights"])
    m = len(weights)
    zero = [1, 4, 10] if m > 10 else [1]
    weights[zero] = 0
    rows = Rows({**found, "weights": weights}, m, zero)
    alpha = getattr(found.get("params"), "alpha", None)
    if alpha is not None and np.shape(alpha)[-1] == m:  # no force can come from them
        alpha = np.array(alpha)
        alpha[..., zero] = 0
        rows.found["params"] = samples.replaced(found["params"], alpha=alpha)
    return rows


def row_axes(public: Public, name: str, value) -> list[int]:
    """The axes of a declared array along which there is a weight for each entry."""
    (letter,) = public.shapes["weights"].forms[0]
    forms = [f or () for f in public.shapes[name].forms]
    form = next((f for f in forms if len(f) == value.ndim), ())
    return [i for i, axis in enumerate(form) if axis == letter]


def without(rows: Rows, tree):
    """A tree with those rows deleted from its arrays, wherever m entries stand."""

    def kept(leaf):
        key = jax.dtypes.prng_key
        if not hasattr(leaf, "ndim") or jnp.issubdtype(leaf.dtype, key):
            return leaf
        leaf = np.asarray(leaf)
        for axis in range(leaf.ndim):
            if leaf.shape[axis] == rows.m:
                leaf = np.delete(leaf, rows.zero, axis=axis)
        return leaf

    return jax.tree.map(kept, tree)


def seen(public: Public, rows: Rows, found):
    """What is compared of the answer to some arguments."""
    see = COMPARED.get(module_name(public), {}).get(public.name)
    result = samples.call(public, found)
    return see(result) if see else without(rows, answer(public, result))


@each(WEIGHTED)
def test_a_row_of_weight_0_may_hold_anything(public):
    """Other rows' values, a thousand times as large, another class: nothing changes."""
    rows = weighted(public)
    other = dict(rows.found)
    for name, value in samples.arrays(public, rows.found).items():
        if name == "weights" or row_axes(public, name, value) != [0]:
            continue
        held = np.take(value, np.add(rows.zero, 1), axis=0)
        if _is_float(held) and not ((value >= 0) & (value <= 1)).all():
            held = held * np.asarray(1000 if (value >= 0).all() else -1000, held.dtype)
        other[name] = np.array(value)
        other[name][rows.zero] = held
    agree(public, seen(public, rows, other), seen(public, rows, rows.found))


@each([p for p in WEIGHTED if not p.random and "state" not in p.parameters])
def test_a_row_of_weight_0_is_not_there(public):
    """Deleting it changes nothing; what is drawn depends on the number of rows."""
    rows = weighted(public)
    own = ROWS.get(module_name(public), {})
    fewer = {
        name: own[name](rows.zero) if name in own else without(rows, value)
        for name, value in rows.found.items()
    }
    assert len(fewer["weights"]) == rows.m - len(rows.zero)
    agree(public, seen(public, rows, fewer), seen(public, rows, rows.found))


# --- units and origins --------------------------------------------------------------


def changed(function: str, name: str, value, table, change):
    """change(leaf, entry of the table) in each float leaf of an argument or answer."""

    def one(path, leaf):
        leaf = np.float32(leaf) if isinstance(leaf, float) else leaf
        if not _is_float(leaf):
            return leaf
        fields = [getattr(k, "name", getattr(k, "key", None)) for k in path]
        fields = [field for field in fields if isinstance(field, str)]
        names = [".".join(fields), *fields, name]
        names = [*(f"{function}.{n}" for n in names), *names]
        return change(leaf, next((table[n] for n in names if n in table), 0))

    return jax.tree_util.tree_map_with_path(one, value)


def touched(public: Public, table) -> bool:
    """Whether the table names what the function takes; if it has params, those too."""

    def moves(name, *fields):
        names = [*(f"{public.name}.{n}" for n in (*fields, name)), *fields, name]
        return any(np.any(table.get(n) or 0) for n in names)

    taken = {n: field_names(a.hint) for n, a in public.arguments.items()}
    if "params" in taken and not moves("params", *taken["params"]):
        return False
    return any(moves(name, *fields) for name, fields in taken.items())


def declared(symmetries) -> list:
    """The functions, and how each of their units or origins changes them."""
    return [
        pytest.param(public, table, id=f"{public.id}-{unit}")
        for public in DECLARED
        for unit, table in symmetries.get(module_name(public), {}).items()
        if touched(public, table)
    ]


def compare(public: Public, found, table, change, rtol=None):
    """The answer to changed arguments is the changed answer."""
    other = {
        name: value
        if name in public.static
        else changed(public.name, name, value, table, change)
        for name, value in found.items()
    }
    wanted, result = (answer(public, samples.call(public, f)) for f in (found, other))

    def settle(leaf, entry):
        return leaf * 0 if entry is None else change(leaf, entry)

    def keep(leaf, entry):
        return leaf * 0 if entry is None else leaf

    its = f"{public.name}()", public.name
    wanted = changed(*its, wanted, table, settle)
    result = changed(*its, result, table, keep)
    agree(public, result, wanted, rtol)


@pytest.mark.parametrize("power", [-20, 20])
@pytest.mark.parametrize(("public", "table"), declared(UNITS))
def test_units(public, table, power):
    """Other units, by factors of two, which round nothing, change only the units."""

    def scaled(leaf, entry):
        factor = 2.0 ** (power * np.asarray(0 if entry is None else entry, float))
        return leaf * factor.astype(leaf.dtype)

    compare(public, samples.arguments(public), table, scaled)


@pytest.mark.parametrize(("public", "table"), declared(ORIGINS))
def test_origins(public, table):
    """An origin a thousand standard deviations away changes nothing but places."""

    def rounded(leaf, entry):
        if not entry:
            return leaf
        return np.round(leaf * 4096) / np.asarray(4096, leaf.dtype)

    def moved(leaf, entry):
        return leaf + np.asarray(1024 * (entry or 0), leaf.dtype)

    found = {
        name: value
        if name in public.static
        else changed(public.name, name, value, table, rounded)
        for name, value in samples.arguments(public).items()
    }
    compare(public, found, table, moved, rtol=1e-3)


# --- integers -----------------------------------------------------------------------


LABELLED = [
    p
    for p in DECLARED
    if any(shape.labels or shape.classes for shape in p.shapes.values())
]


@each(LABELLED)
def test_large_integers_do_not_wrap(public):
    """2³² + 1 is not the label 1: it is refused by name before int32 could cut it."""
    found = samples.arguments(public)
    for name, value in samples.arrays(public, found).items():
        shape = public.shapes[name]
        if (shape.labels or shape.classes) and value.dtype.kind in "iu":
            large = value.astype(np.int64)
            large.flat[0] += 2**32
            refused(public, {**found, name: large}, [name])


@each(LABELLED)
def test_whole_floats_are_labels(public):
    """1.0 is the label 1, and 0.5 is none; P(y = 1) apart."""
    found: dict[str, Any] = samples.arguments(public)
    for name, value in samples.arrays(public, found).items():
        if not public.shapes[name].labels or value.dtype.kind not in "iu":
            continue
        wanted = samples.call(public, found)
        result = samples.call(public, {**found, name: value.astype(float)})
        agree(public, answer(public, result), answer(public, wanted), rtol=1e-6)
        half = value + 0.5
        refused(public, {**found, name: half}, [name])
