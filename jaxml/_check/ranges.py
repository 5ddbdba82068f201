"""Values: checked on the host where an array is concrete, in the status where not."""

import jax
import jax.numpy as jnp
import numpy as np

# Where a hyper-parameter may lie, by its name: an interval as one writes it.
LIMITS = {
    "class_weights": "[0, inf)",
    "confidence": "(0, 1)",
    "couplings": "[0, inf)",
    "degeneracies": "[0, inf)",
    "epsilon": "[0, inf)",
    "floor": "[0, inf)",
    "gamma": "[0, inf)",
    "weights": "[0, inf)",
    "mask": "[0, 1]",
    "l1": "[0, inf)",
    "l1s": "[0, inf)",
    "l2": "[0, inf)",
    "l2_bias": "[0, inf)",
    "l2s": "[0, inf)",
    "nu": "(0, 1]",
    "particles": "(0, inf)",
    "penalty_factors": "[0, inf)",
    "period": "(0, inf)",
    "radius": "(0, inf)",
    "rate": "(0, inf)",
    "ratio": "(0, 1)",
    "scale": "[0, inf)",
    "shares": "[0, inf)",
    "sites": "(0, inf)",
    "sigma": "(0, inf)",
    "temperature": "[0, inf)",
    "temperatures": "[0, inf)",
    "tol": "[0, inf)",
    "variance": "(0, inf)",
    "width": "(0, inf)",
}


def concrete(array) -> bool:
    """Whether the values of an array can be looked at, here and now."""
    if isinstance(array, (np.ndarray, np.generic, int, float)):
        return True
    return not isinstance(array, jax.core.Tracer) and array.is_fully_addressable


MODERATE = 60  # exponent of two beyond which weights are scaled


@jax.jit
def _all_finite(array):
    return jnp.isfinite(array).all()


def is_float(leaf) -> bool:
    """Whether a leaf is an array of floats."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def values(name: str, array, labels: bool, k) -> None:
    """Refuse what is not finite or out of range, where the array is concrete."""
    if not concrete(array):
        return
    if labels:
        return label_values(name, np.asarray(array), k)
    if next(iter(array.devices())).platform != "cpu":
        finite = _all_finite(array)
        if isinstance(finite, jax.core.Tracer) or bool(finite):
            return
    values = np.asarray(array)
    # The sum is finite where all are, but for overflow: look closer only then.
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum()
    if not np.isfinite(total):
        _finite_values(name, values)
    if name in LIMITS:
        within(name, array)
    if name == "weights" and not values.any():
        raise ValueError("weights are all zero")


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


def finite(name: str, tree) -> None:
    """Refuse NaN and infinity in the floats of a concrete pytree."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        if is_float(leaf) and concrete(leaf):
            values(name + jax.tree_util.keystr(path), leaf, False, None)


def _finite_values(name: str, values: np.ndarray) -> None:
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


def label_values(name: str, values: np.ndarray, k) -> None:
    """Refuse labels below 0, and from k on, or from what int32 can hold."""
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0:
        raise ValueError(f"{name} holds the label {int(low)}; labels count from 0")
    last = (k if isinstance(k, int) else 2**31) - 1
    if high > last:
        raise ValueError(f"{name} holds the label {int(high)}, not one of 0 … {last}")


def _mask(value, limits: str | None, xp):
    """Which entries of value lie in an interval, "[0, 1)", or are finite if None."""
    if limits is None:
        return xp.isfinite(value)
    low, high = (float(end) for end in limits[1:-1].split(","))
    above = value > low if limits[0] == "(" else value >= low
    below = value < high if limits[-1] == ")" else value <= high
    return above & below


def inside(name: str, value) -> jax.Array:
    """Whether every entry of value lies in LIMITS[name]; NaN never does."""
    return _mask(value, LIMITS.get(name), jnp).all()


def within(name: str, value, limits: str | None = None) -> None:
    """Refuse a concrete value with an entry outside limits, or else LIMITS[name]."""
    if not concrete(value):
        return
    limits = limits or LIMITS.get(name)
    values = np.asarray(value)
    good = np.asarray(_mask(values, limits, np))
    if good.all():
        return
    if limits is None:
        raise ValueError(f"{name} must be finite, not {values}")
    if values.ndim:
        index = int(good.argmin())
        entry = f"the entry {index} is {values.ravel()[index]}"
        raise ValueError(f"{name} must lie in {limits}; {entry}")
    raise ValueError(f"{name} must lie in {limits}, not {values}")
