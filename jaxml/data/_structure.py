"""How a pytree is built, as JSON, and a pytree of what JSON says."""

import dataclasses
import functools
import importlib
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TRUSTED = ("jaxml", "optax")  # whose classes and functions a file may name
ATOMS = (bool, int, str, type(None))


class _Leaf(NamedTuple):
    """In place of a leaf: what is left of a pytree then is static."""

    number: int


class _UnknownError(ValueError):
    """Something that JSON cannot say."""


def taken_apart(tree) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name, and a description of the pytree that JSON can hold.

    A description has "leaves", [name, kind] or [name, "python", value] of each, and
    "tree", how it is built: None where JSON cannot say.
    """
    arrays: dict[str, np.ndarray] = {}
    leaves: list[list[Any]] = []
    for name, leaf in named("tree", tree).items():
        kind = _kind(name, leaf)
        if kind == "python":
            leaves.append([name, kind, _of_atom(leaf)])
            continue
        leaves.append([name, kind])
        arrays[name] = np.asarray(
            jax.random.key_data(leaf) if kind.startswith("key ") else leaf
        )
    return arrays, {"leaves": leaves, "tree": _described(tree)}


def rebuilt(arrays: dict[str, np.ndarray], description, like) -> Any:
    """The pytree of a description, or what is like `like`."""
    if description is None:
        return arrays if like is None else _by_name(arrays, like)
    leaves = [_leaf(arrays, *each) for each in description["leaves"]]
    if like is not None:
        names = [each[0] for each in description["leaves"]]
        result = placed("like", dict(zip(names, leaves, strict=True)), like)
        static = _described(like)
        if None not in (static, description["tree"]) and static != description["tree"]:
            raise ValueError("like has other static fields or classes than the file")
        return result
    if description["tree"] is None:
        raise ValueError("like must be given: the file does not say how to build it")
    return _built(description["tree"], leaves)


def named(argument: str, tree) -> dict[str, Any]:
    """The leaves of a pytree by their names, as "theta.0"."""
    return dict(zip(_names(argument, tree), jax.tree.leaves(tree), strict=True))


# --- leaves ---------------------------------------------------------------------------


def _names(argument: str, tree) -> list[str]:
    """A name for each leaf, as "theta.0": its path."""
    paths = [path for path, _ in jax.tree.leaves_with_path(tree)]
    names = [
        jax.tree_util.keystr(path, simple=True, separator=".") or "value"
        for path in paths
    ]
    twice = {name for name in names if names.count(name) > 1 or name == "__metadata__"}
    if twice:
        raise ValueError(f"{argument} has more than one leaf named {min(twice)!r}")
    return names


def _kind(name: str, leaf) -> str:
    if isinstance(leaf, jax.core.Tracer):
        raise ValueError(f"tree: {name} is traced; only values can be saved")
    if isinstance(leaf, jax.Array):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return f"key {jax.random.key_impl(leaf)}"
        return "jax"
    if isinstance(leaf, np.ndarray) and leaf.dtype != object:
        return "numpy"
    if isinstance(leaf, np.generic):
        return "numpy scalar"
    if isinstance(leaf, (bool, int, float)):
        return "python"
    raise ValueError(
        f"tree: {name} is of type {type(leaf).__name__}, no array or number"
    )


def _leaf(arrays, name, kind, value=None):
    if kind == "python":
        return _atom(value)
    array = arrays[name]
    if kind == "numpy":
        return array
    if kind == "numpy scalar":
        return array[()]
    result = jnp.array(array)
    if result.dtype != array.dtype:
        raise ValueError(
            f"path: {name} is of dtype {array.dtype}, which jax.enable_x64 has to allow"
        )
    if kind == "jax":
        return result
    return jax.random.wrap_key_data(result, impl=kind.removeprefix("key "))


def _of_atom(value):
    """A number or a string as JSON has it; floats to their last bit."""
    return {"float": value.hex()} if isinstance(value, float) else value


def _atom(value):
    return float.fromhex(value["float"]) if isinstance(value, dict) else value


# --- structure ------------------------------------------------------------------------


def _described(tree):
    """How a pytree is built, or None."""
    structure = jax.tree.structure(tree)
    leaves = [_Leaf(i) for i, _ in enumerate(jax.tree.leaves(tree))]
    try:
        return _say(jax.tree.unflatten(structure, leaves))
    except _UnknownError:
        return None


def _say(value):
    if isinstance(value, _Leaf):
        return {"leaf": value.number}
    if isinstance(value, float) or type(value) in ATOMS:
        return _of_atom(value)
    if isinstance(value, np.dtype):
        return {"dtype": str(value)}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_say(each) for each in value]}
    if type(value) is dict:
        return {"dict": [[_say(k), _say(v)] for k, v in value.items()]}
    if isinstance(value, functools.partial):
        parts = value.func, value.args, value.keywords
        return {"partial": [_say(each) for each in parts]}
    if isinstance(value, (type, types.FunctionType, jax.custom_jvp)):
        return {"name": _name(value)}
    if hasattr(value, "_fields"):
        fields = {name: _say(getattr(value, name)) for name in value._fields}
    elif dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        fields = {name: _say(getattr(value, name)) for name in names}
    else:
        raise _UnknownError
    return {"class": _name(type(value)), "fields": fields}


def _name(value) -> str:
    """Of a class or function that `_found` finds by it."""
    name = f"{value.__module__}:{value.__qualname__}"
    if _found(name) is not value:  # a user's own, a closure, a lambda
        raise _UnknownError
    return name


def _found(name: str):
    """The class or function of that name, or None: one that stands in TRUSTED."""
    module, _, path = name.partition(":")
    if module.partition(".")[0] not in TRUSTED:
        return None
    try:
        found = functools.reduce(
            getattr, path.split("."), importlib.import_module(module)
        )
        # Modules also import what is not theirs, and what a file must not name.
        return (
            found if (found.__module__, found.__qualname__) == (module, path) else None
        )
    except (AttributeError, ImportError):
        return None


def _built(node, leaves):
    """What _say said."""
    build = functools.partial(_built, leaves=leaves)
    if not isinstance(node, dict):
        return node
    if "fields" in node:
        made = _found(node["class"])
        plain = isinstance(made, type) and (
            hasattr(made, "_fields") or dataclasses.is_dataclass(made)
        )
        if not plain:
            raise ValueError(f"like must be given: there is no class {node['class']}")
        return made(**{name: build(each) for name, each in node["fields"].items()})
    ((kind, value),) = node.items()
    if kind == "leaf":
        return leaves[value]
    if kind == "float":
        return _atom(node)
    if kind == "dtype":
        return np.dtype(value)
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](map(build, value))
    if kind == "dict":
        return {build(k): build(v) for k, v in value}
    if kind == "partial":
        function, args, keywords = map(build, value)
        return functools.partial(function, *args, **keywords)
    if _found(value) is None:
        raise ValueError(f"like must be given: there is no {value}")
    return _found(value)


# --- what it is to be like ------------------------------------------------------------


def placed(argument: str, leaves: dict[str, Any], like) -> Any:
    """The leaves in the places of those of like, which have to look the same."""
    names = _names(argument, like)
    if {*names} != {*leaves}:
        missing = [name for name in leaves if name not in names]
        more = [name for name in names if name not in leaves]
        raise ValueError(
            f"{argument} is another pytree: {missing} are in the file alone, "
            f"{more} are not in it"
        )
    for name, given in zip(names, jax.tree.leaves(like), strict=True):
        one, two = _looks(leaves[name]), _looks(given)
        if one != two:
            raise ValueError(f"{argument} has {two} as {name}, but the file has {one}")
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[n] for n in names])


def _looks(leaf) -> str:
    shaped = hasattr(leaf, "dtype")
    return f"{leaf.dtype.name} of shape {leaf.shape}" if shaped else type(leaf).__name__


def _by_name(arrays, like):
    """What is like `like`, of the arrays of another program's file."""
    result = placed("like", arrays, like)
    return jax.tree.map(
        lambda given, a: a if isinstance(given, np.ndarray) else jnp.array(a),
        like,
        result,
    )
