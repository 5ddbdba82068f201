"""Values: checked on the host where an array is concrete, in the status where not."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

MODERATE = 60  # exponent of two beyond which weights are scaled


def concrete(array) -> bool:
    """Whether the values of an array can be looked at, here and now."""
    if isinstance(array, (np.ndarray, np.generic, int, float)):
        return True
    return not isinstance(array, jax.core.Tracer) and array.is_fully_addressable


def is_float(leaf) -> bool:
    """Whether a leaf is an array of floats."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


@jax.jit
def _all_finite(array):
    return jnp.isfinite(array).all()


def values(name: str, array, limits: str | None = None) -> None:
    """Refuse what is not finite, or outside limits such as "[0, 1)", where concrete."""
    if not concrete(array):
        return
    values = np.asarray(array)
    if not values.ndim:
        return _scalar(name, values, limits)
    if not _seen_finite(array, values):
        _refuse_nonfinite(name, values)
    if limits is None:
        return
    inside = _inside(values, limits, np)
    if not inside.all():
        index = int(inside.argmin())
        entry = f"the entry {index} is {values.ravel()[index]}"
        raise ValueError(f"{name} must lie in {limits}; {entry}")


def _scalar(name: str, value: np.ndarray, limits: str | None) -> None:
    if not _inside(float(value), limits, math):
        must = f"lie in {limits}" if limits else "be finite"
        raise ValueError(f"{name} must {must}, not {value}")


def _seen_finite(array, values: np.ndarray) -> bool:
    """Whether all is seen to be finite at once; False where a closer look is due."""
    if isinstance(array, jax.Array) and next(iter(array.devices())).platform != "cpu":
        finite = _all_finite(array)
        return not isinstance(finite, jax.core.Tracer) and bool(finite)
    # The sum is finite where all are, but for overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()))


def _refuse_nonfinite(name: str, values: np.ndarray) -> None:
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


def finite(name: str, tree) -> None:
    """Refuse NaN and infinity in the floats of a concrete pytree."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        if is_float(leaf):
            values(name + jax.tree_util.keystr(path), leaf)


def labels(name: str, array, k: int | None = None) -> None:
    """Refuse concrete labels below 0, and from k on, or from what int32 can hold."""
    if not concrete(array):
        return
    values = np.asarray(array)
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0:
        raise ValueError(f"{name} holds the label {int(low)}; labels count from 0")
    last = (2**31 if k is None else k) - 1
    if high > last:
        raise ValueError(f"{name} holds the label {int(high)}, not one of 0 … {last}")


def some(name: str, weights) -> None:
    """Refuse concrete weights that are all 0."""
    if concrete(weights) and not np.asarray(weights).any():
        raise ValueError(f"{name} are all zero")


def moderate(weights):
    """Concrete weights by a power of two, if sums of them could over- or underflow.

    What a fit minimises does not depend on such a factor, and no digit is lost by it.
    """
    if not concrete(weights):
        return weights
    exponent = int(np.frexp(np.asarray(weights).max())[1])
    if abs(exponent) <= MODERATE:
        return weights
    half = -exponent // 2  # in two steps, as the factor itself may be no float32
    return weights * 2.0**half * 2.0 ** (-exponent - half)


@functools.cache
def _ends(limits: str) -> tuple[float, float]:
    low, high = limits[1:-1].split(",")
    return float(low), float(high)


def _inside(value, limits: str | None, xp):
    """Which entries of value lie in an interval, "[0, 1)", or are finite if None."""
    if limits is None:
        return xp.isfinite(value)
    low, high = _ends(limits)
    above = value > low if limits[0] == "(" else value >= low
    below = value < high if limits[-1] == ")" else value <= high
    return above & below


def inside(value, limits: str | None) -> jax.Array:
    """Whether every entry of value lies in limits; NaN never does."""
    return _inside(value, limits, jnp).all()
