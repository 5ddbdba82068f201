"""The searches of convex costs: what they say about how far the minimum is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.optimize._convex import by_newton
from jaxml.optimize._fit import Status

CURVATURES = np.logspace(0, -4, 50)
STARTS = np.repeat([[0.05, 1], [0.05, 10], [0.05, 100]], 25, axis=1)


@pytest.mark.parametrize("tol", [0.3, 0.1, 3e-3])
def test_conjugate_gradients_see_flat_directions(x64, tol):
    """J = 1 + ½ Σ hᵢ θᵢ²: where few products are asked for, all seem steep."""

    def fit(start):
        return by_newton(
            lambda t: (1 + 0.5 * jnp.vdot(CURVATURES, t**2), CURVATURES * t),
            start,
            tol=tol,
            max_iter=50,
            product=lambda t: lambda v: CURVATURES * v,
            relative=True,
        )

    found = jax.jit(jax.vmap(fit))(STARTS)
    assert (found.status == Status.CONVERGED).all()
    true = np.sqrt((found.cost - 1) / found.cost)
    assert (true <= found.residual).all()
    assert (found.residual <= tol).all()
