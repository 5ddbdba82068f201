"""Mini-batch training: every row once an epoch, bit-exact resumption, early stopping."""

import jax
import numpy as np
import optax

from jaxml import feedforward, train
from jaxml.optimize import recipe
from tests.common.samples import Made

SIZES = (3, 4, 2)


def _update(**options):
    return train.descend(
        feedforward.cost,
        solver=recipe(optax.sgd, momentum=0.9),
        rate=options.pop("rate", 0.2),
        gradient=feedforward.backprop,
        **options,
    )


def _state(seed):
    params = feedforward.init(jax.random.key(seed), sizes=SIZES)
    return train.start(_update(), params, jax.random.key(seed + 1))


def _data(seed, m=12):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, 3)), np.eye(2)[rng.integers(0, 2, m)]


SAMPLES = {
    "update": Made(lambda seed: _update()),
    "state": Made(_state),
    "data": Made(_data),
    "batch": 5,
    "epochs": 2,
    "validation": Made(_data),
    "score": feedforward.score,
    "patience": None,
    "steps": None,
}
ROUGH = {"epoch": "a step of a whole epoch; compared in the network's own tests"}
