"""What can't be right is refused by the name of an argument, whatever it is.

Each argument of every public function is given all kinds of bad values in turn: the
quick form asks few functions, the long one all.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from jaxml import Fit
from jaxml._check.annotations import Role
from jaxml._check.trees import field_names, hints_of
from tests.common import samples
from tests.common.test_protocol import DECLARED, each

FEW = {
    "bootstrap.bca",
    "calibration.probability",
    "metrics.confusion",
    "ranking.ndcg",
    "feedforward.cost",
    "optimize.proximal.l1_prox",
    "kmeans.predict",
    "mixture.log_density",
    "recommend.variational.mean",
    "linear.cost",
}
NOTHING = jnp.zeros(())


def put(array, value):
    array = np.array(array)
    array.flat[-1:] = value
    return array


def arrays(name, array, shape):
    """What an array can never be, and what it might be."""
    never = {
        "a string": "nonsense",
        "strings": np.full(array.shape, "a"),
        "objects": np.full(array.shape, None),
        "dates": np.full(array.shape, "2020-01-01", "M8[s]"),
        "complex": array + 1j,
        "ragged": [[1.0], [2.0, 3.0]],
        "a dict": {"a": 1.0},
        "a set": {1.0},
        "a function": np.sin,
        "keys": jax.random.split(jax.random.key(0), array.shape),
        "masked": np.ma.masked_array(array),
        "sparse": scipy.sparse.csr_matrix(np.ones((2, 3))),
        "a Fit": Fit(array, 0.0, 0.0, 0, 0, 0),
        "deep": array[..., None, None, None],
        "empty": array[..., :0] if array.ndim else np.ones(0),
    }
    if name == "weights":
        never |= {"negative": put(array, -1.0), "all NaN": array * np.nan}
    if array.dtype.kind == "f":
        never |= {str(v): put(array, v) for v in (np.nan, np.inf, -np.inf)}
    if (shape.labels or shape.classes) and name != "time":
        values = (-1, 2**31, 2**32 + 1) + (0.5, np.nan) * (array.ndim == 1)
        never |= {f"label {v}": put(array.astype(type(v)), v) for v in values}
        if shape.classes and shape.k == 2:
            del never["label 0.5"]  # a probability
    maybe = {"up": array[..., None], "up front": array[None], "zero": 0 * array}
    if array.ndim:
        maybe |= {"down": array[0], "short": array[:-1], "narrow": array[..., :-1]}
        maybe["long"] = np.concatenate([array, array[:1]])
    return never, maybe


def trees(tree, finite):
    """What a NamedTuple can never be; what none of its arrays can be, each in turn."""
    fit = Fit(tree, NOTHING, NOTHING, jnp.int32(0), jnp.int32(0), jnp.zeros(1))
    never = {
        "a number": 3,
        "a string": "nonsense",
        "a dict": {"a": 1.0},
        "an array": NOTHING,
    }
    never |= {"a list": [1.0, 2.0], "a function": np.sin, "()": (), "a Fit": fit}
    for field, hint in hints_of(type(tree)).items():
        value, more = getattr(tree, field), getattr(hint, "__metadata__", ())
        if field_names(hint):
            wrong = trees(value, finite)
        elif Role.STATIC in more:
            continue
        elif more or hint is jax.Array:
            wrong = {**FIELD, "deep": value[..., None, None, None]}
            wrong |= {} if None in more else {"None": None}
            if finite and jnp.issubdtype(value.dtype, jnp.floating):
                wrong["NaN"] = put(value, np.nan)
        else:
            continue
        never |= {
            f"{field}: {k}": samples.replaced(tree, **{field: v})
            for k, v in wrong.items()
        }
    return never


FIELD = {
    "a string": "nonsense",
    "strings": np.array(["a"]),
    "a dict": {},
    "a function": np.sin,
    "an object": object(),
    "complex": 1j,
}
SCALARS = {
    "NaN": float("nan"),
    "a string": "nonsense",
    "a list": [1.0, 2.0],
    "an array": np.ones(2),
    "complex": 1j,
    "a dict": {},
    "an object": object(),
    "a key": jax.random.key(0),
}
EXTREME = {"-1": -1.0, "inf": float("inf"), "0": 0.0, "large": 2.0**31, "True": True}
STATIC = {**SCALARS, **EXTREME, "1.5": 1.5, "()": (), "-3": -3, "2**31": 2**31}
STATIC["a function of nothing"] = lambda *args, **more: None
KEYS = {
    "a number": 0,
    "None": None,
    "a string": "nonsense",
    "many": jax.random.split(jax.random.key(0)),
    "old": np.zeros(2, np.uint32),
}


def bad(public, found):
    """(argument, what is wrong, value, whether it can never be right)."""
    for name, parameter in public.parameters.items():
        if name not in found:
            continue
        value, shape = found[name], public.shapes.get(name)
        never, maybe = {}, {}
        if name == "key":
            never = KEYS
        elif name in public.static:
            maybe = STATIC
        elif shape and shape.forms != (None,):
            if value is not None:
                never, maybe = arrays(name, np.asarray(value), shape)
        elif parameter.kind is parameter.KEYWORD_ONLY and name not in public.trees:
            never, maybe = SCALARS, EXTREME
        elif field_names(type(value)) and field_names(public.arguments[name].hint):
            never = trees(value, finite=name == "params")
        if (never or maybe) and parameter.default is not None:
            never = {**never, "None": None}
        for kinds, surely in ((never, True), (maybe, False)):
            for what, wrong in kinds.items():
                yield name, what, wrong, surely


def check(public):
    """Every bad value is refused, by the name of an argument, or might be right."""
    found, faults = samples.arguments(public), []
    names = "|".join(map(re.escape, public.parameters))
    for name, what, wrong, surely in bad(public, found):
        fault = "is taken" if surely else ""
        try:
            jax.block_until_ready(samples.call(public, {**found, name: wrong}))
        except Exception as error:
            named = re.match(rf"({names})\b", str(error))
            refused = named and isinstance(error, (ValueError, TypeError))
            fault = "" if refused else repr(error)
        if fault:
            faults.append(f"{name}, {what}: {fault}")
    assert not faults, "\n".join(faults)


@each([p for p in DECLARED if p.id in FEW])
def test_bad_input(public):
    check(public)


@pytest.mark.long
@each([p for p in DECLARED if p.id not in FEW])
def test_bad_input_of_all(public):
    check(public)
    jax.clear_caches()  # of programs that are of no more use
