"""CONVERGED is a promise: no search in float64 finds a cost that is much below.

On columns of very different sizes, in three units, where a residual that has units
would be small far from a minimum, or large at it.
"""

import inspect

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import optimize as scipy

from jaxml import Status
from tests.common import samples
from tests.common.symmetries import CONVEX, UNITS
from tests.common.test_invariance import changed, module_name
from tests.common.test_protocol import DECLARED

PROMISED = [
    pytest.param(public, options, id="-".join([public.id, *map(str, options.values())]))
    for public in DECLARED
    if public.name == "fit"
    for options in CONVEX.get(module_name(public), ())
]
SIZES = np.array([1, 32, 1 / 1024], np.float32)  # of the columns of x


def costs(public, found, params):
    """The documented cost in float64, and its gradient, as functions of w and b."""
    cost = public.module.cost
    taken = inspect.signature(cost).parameters
    data = [found[n] for n in ("x", "y") if n in taken]
    hyper = {
        name: found[name]
        for name in taken
        if name not in ("params", "x", "y") and found.get(name) is not None
    }
    start, unravel = ravel_pytree({"w": params.w, "b": params.b})

    def of(flat):
        return cost(samples.replaced(params, **unravel(flat)), *data, **hyper)

    value = jax.jit(jax.value_and_grad(of))
    return np.asarray(start), lambda flat: tuple(map(np.asarray, value(flat)))


def least(both, start):
    """The least cost that is found from start, in units of its own coordinates."""
    unit = np.where(start == 0, 1, np.abs(start))

    def scaled(u):
        value, gradient = both(u * unit)
        return float(value), gradient * unit

    search = scipy.minimize(scaled, start / unit, jac=True, method="BFGS")
    kinks = scipy.minimize(lambda u: scaled(u)[0], search.x, method="Nelder-Mead")
    return min(scaled(start / unit)[0], search.fun, kinks.fun)


@pytest.mark.parametrize(("public", "options"), PROMISED)
def test_converged_is_a_promise(public, options):
    """The cost is within 1e-4 of the least that a search from there finds."""
    table = UNITS[module_name(public)]["x"]
    promised = 0
    for seed, power in enumerate((-14, 0, 14)):

        def scaled(leaf, entry, power=power):
            return leaf * np.asarray(2.0 ** (power * entry), leaf.dtype)

        given = samples.arguments(public, seed=seed) | options
        found = {
            name: value
            if name in public.static
            else changed("fit", name, value, table, scaled)
            for name, value in given.items()
        }
        found |= {"x": found["x"] * SIZES}
        fit = samples.call(public, found)
        assert not fit.residual < 0
        if fit.status != Status.CONVERGED:
            continue
        promised += 1
        with jax.enable_x64(True):
            wide = samples.cast((found, fit.params), np.float64)
            start, both = costs(public, *wide)
            value = float(both(start)[0])
            assert value - least(both, start) <= 1e-4 * abs(value)
    assert promised
