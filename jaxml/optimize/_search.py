"""The line search of the solvers that search one: it never ends above its start."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

SLACK = 1e-6  # of the cost, which approximate Wolfe conditions may lose near a minimum


def zoom(learning_rate: Any, **options: Any) -> optax.GradientTransformationExtraArgs:
    """optax's search for the strong Wolfe conditions, whose failures change nothing.

    learning_rate is the longest step; options as in optax.scale_by_zoom_linesearch.
    Where the cost did not fall, or is not finite, params stay where they are, and the
    next search begins a tenth as far as this one ended.
    """
    search = optax.scale_by_zoom_linesearch(
        30, max_learning_rate=learning_rate, **options
    )

    def update(updates, state, params=None, *, value, grad, value_fn, **extra):
        moved, new = search.update(
            updates, state, params, value=value, grad=grad, value_fn=value_fn
        )
        lower = new.value <= value + SLACK * jnp.abs(value)
        accepted = (
            lower & jnp.isfinite(new.value) & jnp.isfinite(optax.tree.norm(new.grad))
        )
        kept = new._replace(
            learning_rate=new.learning_rate / 10, value=value, grad=grad
        )
        kept = optax.tree.cast_like(kept, new)

        def choose(yes, no):
            return optax.tree.where(accepted, yes, no)

        moved = jax.tree.map(lambda m: jnp.where(accepted, m, 0), moved)
        return moved, choose(new, kept)

    return optax.GradientTransformationExtraArgs(search.init, update)
