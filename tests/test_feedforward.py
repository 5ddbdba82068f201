"""The feed-forward network against autodiff, differences and the slides."""

import jax
import numpy as np
import optax

from jaxml import feedforward
from tests.common.samples import Made

SIZES = (3, 4, 2)


def _ensemble(seed):
    keys = jax.random.split(jax.random.key(seed), 3)
    return jax.vmap(lambda key: feedforward.init(key, sizes=SIZES))(keys)


SAMPLES = {
    "init.sizes": SIZES,
    "y": Made(lambda seed: np.eye(2)[np.random.default_rng(seed).integers(0, 2, 12)]),
    "fit.solver": optax.sgd,
    "fit.rate": 0.2,
    "fit.max_iter": 5,
    "ensemble.params": Made(_ensemble),
    # So wide that the error of the differences is not rounding.
    "gradient_check.epsilon": 0.5,
}
ROUGH = {
    "slowdown": "a share of units jumps",
    "score": "a share of rows jumps",
}
