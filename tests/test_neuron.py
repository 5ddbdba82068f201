"""The neuron: activations, their derivatives, and the perceptron."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxml
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
    "heaviside": "a threshold",
    "predict": "a threshold",
    "learn": "the answers, and so the corrections, jump",
}
Z = np.linspace(-6, 6, 49) + 0.03  # no point at the kink of ReLU
TABLE = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize("name", neuron.ACTIVATIONS)
def test_derivative_is_the_derivative(name, x64):
    """What the course writes, against autodiff and against central differences."""
    function = getattr(neuron, name)
    slope = neuron.derivative(Z, activation=name)
    np.testing.assert_allclose(slope, jax.vmap(jax.grad(function))(jnp.asarray(Z)))
    step = 1e-6
    numeric = (function(Z + step) - function(Z - step)) / (2 * step)
    np.testing.assert_allclose(slope, numeric, atol=1e-8)


def test_activations_by_their_formulas(x64):
    np.testing.assert_allclose(neuron.sigmoid(Z), 1 / (1 + np.exp(-Z)), rtol=1e-14)
    # The course's identity between the two.
    np.testing.assert_allclose(neuron.sigmoid(Z), (1 + np.tanh(Z / 2)) / 2, rtol=1e-14)
    np.testing.assert_allclose(neuron.tanh(Z), np.tanh(Z), rtol=1e-14)
    np.testing.assert_array_equal(neuron.relu(Z), np.maximum(Z, 0))
    np.testing.assert_allclose(neuron.softplus(Z), np.log1p(np.exp(Z)), rtol=1e-14)
    np.testing.assert_array_equal(neuron.linear(Z), Z)
    np.testing.assert_array_equal(neuron.heaviside(Z), (Z > 0).astype(float))


def test_activations_far_out():
    """Nothing overflows in float32, and no derivative is NaN."""
    far = np.array([-1e4, -100.0, 100.0, 1e4], np.float32)
    for name in neuron.ACTIVATIONS:
        slope = neuron.derivative(far, activation=name)
        assert np.isfinite(getattr(neuron, name)(far)).all()
        assert np.isfinite(slope).all()
        assert (slope >= 0).all()
        assert (slope <= 1).all()


def test_an_activation_of_ones_own():
    cube = neuron.Activation(lambda z: z**3, lambda a: 3 * jnp.cbrt(a) ** 2)
    np.testing.assert_allclose(
        neuron.derivative(Z, activation=cube), 3 * Z**2, rtol=1e-4
    )
    with pytest.raises(ValueError, match="^activation must be one of 'sigmoid'"):
        neuron.derivative(Z, activation="cube")


@pytest.mark.parametrize(
    ("name", "truth"),
    [("and", [0, 0, 0, 1]), ("or", [0, 1, 1, 1]), ("nand", [1, 1, 1, 0])],
)
def test_gates(name, truth):
    np.testing.assert_array_equal(neuron.predict(neuron.gate(name), TABLE), truth)


def test_xor_takes_two_layers():
    np.testing.assert_array_equal(neuron.xor(TABLE), [0, 1, 1, 0])
    # No weights on a grid make one perceptron do it, as the proof says.
    grid = np.stack(np.meshgrid(*[np.linspace(-3, 3, 13)] * 3), -1).reshape(-1, 3)
    rows = np.c_[np.ones(4), TABLE]
    assert not ((grid @ rows.T > 0) == [0, 1, 1, 0]).all(axis=1).any()


def _loop(theta, x, y, rate, w):
    """The rule of the course, as one writes it down."""
    mistakes = 0
    for row, target, weight in zip(x, y, w, strict=True):
        row = np.r_[1.0, row]
        answer = int(theta @ row > 0)
        mistakes += int(answer != target and weight > 0)
        theta = theta + rate * weight * (target - answer) * row
    return theta, mistakes


def test_learn_is_the_rule(x64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 3)), rng.integers(0, 2, 12)
    w = rng.integers(0, 3, 12).astype(float)
    start = _perceptron(0)
    theta, mistakes = _loop(np.asarray(start.theta), x, y, 0.5, w)
    after = neuron.learn(start, x, y, learning_rate=0.5, weights=w)
    np.testing.assert_allclose(after.theta, theta, rtol=1e-13)
    assert int(after.mistakes) == mistakes


def _separable(margin=0.3):
    """Rows on both sides of a plane, none nearer to it than margin."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 2))
    normal = np.array([0.6, 0.8])
    distance = x @ normal - 0.2
    keep = np.abs(distance) > margin
    return x[keep], (distance[keep] > 0).astype(int), normal, -0.2


def test_fit_separates_within_novikoffs_bound():
    x, y, normal, offset = _separable()
    start = neuron.Params(jnp.zeros(3), jnp.int32(0))
    fit = jaxml.check(neuron.fit(start, x, y, max_iter=100))
    assert int(fit.status) == 0
    assert float(fit.cost) == 0
    np.testing.assert_array_equal(neuron.predict(fit.params, x), y)
    rows = np.c_[np.ones(len(x)), x]
    plane = np.r_[offset, normal]
    gamma = np.abs(rows @ plane).min() / np.linalg.norm(plane)
    radius = np.linalg.norm(rows, axis=1).max()
    assert 0 < int(fit.params.mistakes) <= (radius / gamma) ** 2


def test_fit_says_that_xor_cannot_be_learnt():
    start = neuron.Params(jnp.zeros(3), jnp.int32(0))
    fit = neuron.fit(start, TABLE, [0, 1, 1, 0], max_iter=50)
    with pytest.raises(jaxml.optimize._fit.FitError, match="EXHAUSTED"):
        jaxml.check(fit)
    assert int(fit.steps) == 50


def test_rows_of_weight_zero_are_not_shown():
    x, y, *_ = _separable()
    flipped = y.copy()
    flipped[:20] = 1 - flipped[:20]
    weights = np.r_[np.zeros(20), np.ones(len(y) - 20)]
    start = neuron.Params(jnp.zeros(3), jnp.int32(0))
    fit = neuron.fit(start, x, flipped, weights=weights, max_iter=100)
    alone = neuron.fit(start, x[20:], y[20:], max_iter=100)
    np.testing.assert_allclose(fit.params.theta, alone.params.theta, rtol=1e-5)
    assert int(fit.params.mistakes) == int(alone.params.mistakes)


def test_bad_input():
    start = neuron.Params(jnp.zeros(3), jnp.int32(0))
    with pytest.raises(ValueError, match="^y holds the label 2, not one of 0 … 1"):
        neuron.fit(start, TABLE, [0, 1, 2, 0])
    with pytest.raises(
        ValueError, match=r"^params.theta has shape \(3,\), not \(n \+ 1"
    ):
        neuron.predict(start, np.ones((4, 3)))
    with pytest.raises(ValueError, match="^name must be one of 'and'"):
        neuron.gate("xor")
    many = jax.vmap(lambda y: neuron.fit(start, TABLE, y, max_iter=5).status)
    status = many(jnp.array([[0, 0, 0, 1], [0, 1, 2, 0]]))
    assert status.tolist()[1] == jaxml.Status.INVALID
