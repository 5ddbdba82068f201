"""The neuron: activations, their derivatives, and the perceptron."""

import jax.numpy as jnp
import numpy as np

from jaxml import neuron
from tests.common.samples import Made


def _perceptron(seed):
    theta = np.random.default_rng(seed).normal(size=4)
    return neuron.Params(jnp.asarray(theta), jnp.int32(0))


SAMPLES = {
    "params": Made(_perceptron),
    "fit.max_iter": 4,
    "xor.x": np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
}
ROUGH = {
    "step": "a threshold",
    "predict": "a threshold",
    "learn": "the answers, and so the corrections, jump",
}
