"""One fold of one fit, and what is made of all of them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._units import weights_or_ones
from jaxml.evaluate.selection._folds import Folds
from jaxml.optimize._fit import Status


def row_weights(folds, x, y, weights):
    """Weights of the training rows and of those held out, (f, m)."""
    if not hasattr(y, "shape"):
        raise ValueError(f"y must be an array, not a {type(y).__name__}")
    if not isinstance(folds, Folds):
        raise ValueError("folds must be Folds(train, test), as k_fold makes them")
    both = [(each, "f m") for each in folds]
    names = dict(zip(("folds.train", "folds.test"), both))
    _check.shapes(x=(x, "m|m n"), y=(y, "m|m t"), **names)
    for name, (each, _) in names.items():
        if jnp.issubdtype(each.dtype, jnp.floating):
            _check.values(name, each)
    _check.finite("y", y)
    rows = weights_or_ones(weights, x)
    return [each.astype(x.dtype) * rows[None] for each in folds]


def as_points(name: str, points, dtype, limits) -> dict[str, jax.Array]:
    """Points as arrays of floats with one leading axis, inside the limits of each."""
    if points is None:
        return {}
    if not isinstance(points, Mapping):
        raise ValueError(f"{name} must be a dict of arrays, not {points!r}")
    arrays = {}
    for each, given in points.items():
        arrays[each] = values(each, given, dtype, limits.get(each))
        if not jnp.ndim(arrays[each]):
            raise ValueError(f"{name} holds a single {each}, not (g,) values")
    sizes = {each: len(values) for each, values in arrays.items()}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        raise ValueError(f"{name} must hold values of equal length, not {sizes}")
    return arrays


def values(name: str, given, dtype, limits: str | None = None) -> jax.Array:
    """What is given, an array or a list that may hold arrays, as finite floats."""
    some = isinstance(given, (list, tuple)) and not hasattr(given, "_fields")
    if some and any(isinstance(value, jax.Array) for value in given):
        given = jnp.stack([_check.array(name, value, False) for value in given])
    array = jnp.asarray(_check.array(name, given, False), dtype)
    _check.values(name, array, limits)
    return array


def compiled_in(name: str, function):
    """A function that is compiled in, and equals its like."""
    if not callable(function):
        raise ValueError(f"{name} must be a function, not {function!r}")
    return _check.by_value(name, function)


def one_fit(fit, score, x, y, train, test, point, name="score"):
    """Scores on both kinds of rows, and status, of one fit; name is the score's."""
    result = fitted(fit, x, y, train, point)
    held = jnp.sum(test) != 0
    # Weights of a fold without rows are made harmless: 0/0 has no derivative.
    rows = train, jnp.where(held, test, 1)
    scores = [score(result.params, x, y, weights=each) for each in rows]
    for each in scores:
        _check.scalar(name, each)
    learned, judged = (each * worked(result, x.dtype) for each in scores)
    return learned, jnp.where(held, judged, jnp.nan), result.status


def fitted(fit, x, y, weights, point):
    """The Fit of some rows."""
    result = fit(x, y, weights=weights, **point)
    if not (hasattr(result, "params") and hasattr(result, "status")):
        raise ValueError(f"fit must return a Fit, not {type(result).__name__}")
    return result


def worked(result, dtype):
    """A factor of 1, or NaN for a fit that failed, with derivatives of NaN as well."""
    return jnp.where(result.status < Status.UNBOUNDED, 1, jnp.nan).astype(dtype)


def in_chunks(function, arrays, chunk: int | None):
    """Map function over the leading axis of arrays, chunk at a time; None for all."""
    many = len(jax.tree.leaves(arrays)[0])
    if chunk is None or chunk >= many:
        return jax.vmap(function)(arrays)
    size = -(-many // -(-many // chunk))  # as even as may be: what is left over is less
    return jax.lax.map(function, arrays, batch_size=size)


def held_out(test):
    """Which folds, (f,), have rows to be judged by."""
    return jnp.sum(test, axis=1) != 0


def over_folds(scores, held):
    """Mean of scores, (f, …), over the folds that are held, and its standard error."""
    held = held[(..., *[None] * (scores.ndim - 1))]
    many = jnp.sum(held, axis=0).astype(scores.dtype)
    mean = jnp.sum(jnp.where(held, scores, 0), axis=0) / many
    apart = jnp.where(held, scores - mean[None], 0)
    return mean, jnp.sqrt(jnp.sum(apart**2, axis=0) / (many - 1) / many)
