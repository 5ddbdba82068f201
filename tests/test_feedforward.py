"""The feed-forward network against autodiff, differences and the slides."""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.neural_network import MLPClassifier

import jaxml
from jaxml import Status, feedforward, neuron, scaling
from jaxml.optimize import conjugate
from tests.common.samples import Made
from tests.depth import cases

SIZES = (3, 4, 2)


def _ensemble(seed):
    keys = jax.random.split(jax.random.key(seed), 3)
    return jax.vmap(lambda key: feedforward.init(key, sizes=SIZES))(keys)


def _labels(seed):
    return 0.1 + 0.8 * np.eye(2)[np.random.default_rng(seed).integers(0, 2, 12)]


SAMPLES = {
    "init.sizes": SIZES,
    # Not at an end of [0, 1], beyond which there are no differences.
    "y": Made(_labels),
    "fit.solver": optax.sgd,
    "fit.learning_rate": 0.2,
    "fit.max_iter": 5,
    "ensemble.params": Made(_ensemble),
    # So wide that the error of the differences is not rounding.
    "gradient_check.epsilon": 0.5,
}
ROUGH = {
    "slowdown": "a share of units jumps",
    "score": "a share of rows jumps",
}
# Each loss with each output that can go before it.
PAIRS = [(loss, out) for loss, outs in feedforward.LOSSES.items() for out in outs]
COURSE = [
    ("quadratic", "sigmoid"),
    ("cross-entropy", "sigmoid"),
    ("log-likelihood", "softmax"),
]


def _problem(seed, sizes, m=8, **options):
    """Parameters, rows, targets and weights; targets that sum to one."""
    rng = np.random.default_rng(seed)
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    theta = tuple(rng.normal(size=(n_out, n_in + 1)) for n_out, n_in in shapes)
    y = rng.dirichlet(np.ones(sizes[-1]), m)
    return (
        feedforward.Params(theta, **options),
        rng.normal(size=(m, sizes[0])),
        y,
        rng.uniform(0.1, 2, m),
    )


def _random_sizes(seed):
    """Ten architectures, as each is compiled anew; the parameters all differ."""
    rng = np.random.default_rng(1000 + seed % 10)
    return tuple(int(s) for s in rng.integers(1, 7, rng.integers(2, 6)))


@jax.jit
def _largest_gap(params, x, y, w, l2, l1):
    options = {"l2": l2, "l1": l1, "weights": w}
    by_hand = feedforward.backprop(params, x, y, **options)
    autodiff = jax.grad(feedforward.cost)(params, x, y, **options)
    gaps = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), by_hand, autodiff)
    return gaps.theta


# --- back-propagation --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(50))
def test_backprop_is_autodiff(seed, x64):
    """50 random networks × 3 costs × with and without penalties, leaf by leaf."""
    # Few rows are accumulated one by one, many by a product.
    m = 24 if seed % 2 else 8
    params, x, y, w = _problem(seed, _random_sizes(seed), m)
    for loss, output in COURSE:
        for l2, l1 in ((0.0, 0.0), (0.3, 0.2)):
            own = replace(params, loss=loss, output=output)
            gaps = _largest_gap(own, x, y, w, l2, l1)
            assert max(gaps) < 1e-12


@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_backprop_on_the_slides_network(loss, output, x64):
    """3-5-5-4, with every output a loss can follow; hidden units of another kind."""
    params, x, y, w = _problem(7, (3, 5, 5, 4), loss=loss, output=output)
    for activation in ("sigmoid", "tanh"):
        own = replace(params, activation=activation)
        assert max(_largest_gap(own, x, y, w, 0.1, 0.0)) < 1e-12
    assert [d.shape for d in feedforward.backprop(params, x, y).theta] == [
        (5, 4),
        (5, 6),
        (4, 6),
    ]


def test_backprop_by_the_loops_of_the_course(x64):
    """Accumulators filled example by example, as the slides do it, corrected."""
    params, x, y, _ = _problem(3, (3, 5, 5, 4))
    m = len(x)
    accumulated = [np.zeros_like(theta) for theta in params.theta]
    for row, target in zip(x, y, strict=True):
        a = [row]
        for theta in params.theta:
            a.append(1 / (1 + np.exp(-theta @ np.r_[1, a[-1]])))
        delta = a[-1] - target
        for layer in reversed(range(len(params.theta))):
            accumulated[layer] += np.outer(delta, np.r_[1, a[layer]])
            if layer:
                slope = a[layer] * (1 - a[layer])
                delta = params.theta[layer][:, 1:].T @ delta * slope
    expected = []
    for theta, total in zip(params.theta, accumulated, strict=True):
        penalised = theta.copy()
        penalised[:, 0] = 0
        expected.append(total / m + 0.4 / m * penalised)
    found = feedforward.backprop(params, x, y, l2=0.4 / m)
    for a, b in zip(found.theta, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_delta_is_the_answer_to_a_push_at_z(loss, output, x64):
    """J with ε added to z^(l) has the derivative δ^(l): the multiplier of the layer."""
    params, x, y, _ = _problem(5, (3, 5, 5, 4), loss=loss, output=output)

    def pushed(pushes):
        a = x
        for theta, push in zip(params.theta, pushes, strict=True):
            z = theta[:, 0][None] + a @ theta[:, 1:].T + push
            a = jax.nn.sigmoid(z)
        # The cost of a network whose only layer hands z on.
        eye = jnp.concatenate([jnp.zeros((4, 1)), jnp.eye(4)], axis=1)
        return len(x) * feedforward.cost(replace(params, theta=(eye,)), z, y)

    zeros = [jnp.zeros((len(x), len(theta))) for theta in params.theta]
    expected = jax.jit(jax.grad(pushed))(zeros)
    found = feedforward.deltas(params, x, y)
    chex.assert_trees_all_close(list(found), expected, rtol=1e-11, atol=1e-14)


def test_output_errors_of_the_slides(x64):
    """(a - y) ⊙ g' for the quadratic cost, a - y for the other two (slide error 3)."""
    params, x, y, _ = _problem(2, SIZES)
    a = feedforward.outputs(params, x)
    quadratic = feedforward.deltas(replace(params, loss="quadratic"), x, y)[-1]
    np.testing.assert_allclose(quadratic, (a - y) * a * (1 - a), rtol=1e-13)
    np.testing.assert_allclose(feedforward.deltas(params, x, y)[-1], a - y, rtol=1e-13)
    soft = replace(params, output="softmax", loss="log-likelihood")
    a = feedforward.outputs(soft, x)
    found = feedforward.deltas(soft, x, y)[-1]
    np.testing.assert_allclose(found, a - y, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("loss", "output"), COURSE)
def test_gradient_check(loss, output, x64):
    params, x, y, w = _problem(1, SIZES, loss=loss, output=output)
    assert feedforward.gradient_check(params, x, y, l2=0.1, weights=w) < 1e-8


def test_gradient_check_finds_a_wrong_gradient(x64, monkeypatch):
    params, x, y, _ = _problem(1, SIZES)
    right = feedforward.backprop

    def wrong(*args, **options):
        gradient = right(*args, **options)
        first, *rest = gradient.theta
        return replace(gradient, theta=(1.01 * first, *rest))

    monkeypatch.setattr(feedforward, "backprop", wrong)
    assert feedforward.gradient_check(params, x, y) > 1e-3


@pytest.mark.parametrize("solver", [optax.sgd, partial(optax.sgd, momentum=0.9)])
def test_l1_leaves_a_weight_at_0(solver, x64):
    """Its slope at 0 is 0; a weight of 0 that the data do not move stays there."""
    params = feedforward.Params((np.array([[0.0, 0.0, 0.5]]),))
    x, y = np.array([[0.0, 1.0], [0.0, -1.0]]), np.array([[0.5], [0.5]])
    gradient = jax.grad(feedforward.cost)(params, x, y, l1=0.1)
    chex.assert_trees_all_close(gradient, feedforward.backprop(params, x, y, l1=0.1))
    options = {"solver": solver, "learning_rate": 1.0, "tol": 0.0, "max_iter": 2}
    fit = feedforward.fit(params, x, y, l1=0.1, **options)
    np.testing.assert_array_equal(fit.params.theta[0][0, :2], 0)


# --- forward pass, costs, starts ---------------------------------------------------


def test_forward_against_scikit_learn(x64):
    """Its tanh network with softmax output, from its own weights."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    peer = MLPClassifier(
        (5, 4), activation="tanh", solver="lbfgs", max_iter=20, alpha=0
    )
    with pytest.warns(Warning, match="max_iter|ITERATIONS"):
        peer.fit(x, labels)
    theta = tuple(
        np.c_[b, w.T] for w, b in zip(peer.coefs_, peer.intercepts_, strict=True)
    )
    params = feedforward.Params(theta, "tanh", "softmax", "log-likelihood")
    found = feedforward.probabilities(params, x)
    np.testing.assert_allclose(found, peer.predict_proba(x), rtol=1e-10)
    np.testing.assert_array_equal(feedforward.predict(params, x), peer.predict(x))
    y = scaling.one_hot(labels, k=3)
    cost = feedforward.cost(params, x, y)
    np.testing.assert_allclose(cost, peer.loss_, rtol=1e-10)


def test_layers_have_the_shapes_of_the_course():
    params, x, *_ = _problem(0, (3, 5, 5, 4))
    layers = feedforward.forward(params, x)
    assert [z.shape for z in layers.z] == [(8, 5), (8, 5), (8, 4)]
    assert [a.shape for a in layers.a] == [(8, 3), (8, 5), (8, 5), (8, 4)]
    np.testing.assert_array_equal(layers.a[0], np.float32(x))


def test_costs_by_their_formulas(x64):
    params, x, y, w = _problem(4, SIZES)
    share = (w / w.sum())[:, None]
    a = np.asarray(feedforward.outputs(params, x))
    expected = {
        "quadratic": (share * 0.5 * (a - y) ** 2).sum(),
        "cross-entropy": -(share * (y * np.log(a) + (1 - y) * np.log1p(-a))).sum(),
    }
    for loss, value in expected.items():
        cost = feedforward.cost(replace(params, loss=loss), x, y, weights=w)
        np.testing.assert_allclose(cost, value, rtol=1e-12)
    squares = sum((theta[:, 1:] ** 2).sum() for theta in params.theta)
    sizes = sum(np.abs(theta[:, 1:]).sum() for theta in params.theta)
    penalised = feedforward.cost(params, x, y, l2=0.3, l1=0.2, weights=w)
    bare = feedforward.cost(params, x, y, weights=w)
    np.testing.assert_allclose(penalised - bare, 0.15 * squares + 0.2 * sizes)


def test_costs_lose_no_digits_far_out():
    """A certain and wrong network has a finite cost, whose gradient is not lost."""
    params = feedforward.Params((np.array([[0.0, 1e4]], np.float32),))
    x, y = np.array([[1.0], [-1.0]], np.float32), np.array([[0.0], [1.0]], np.float32)
    assert float(feedforward.cost(params, x, y)) == 1e4
    (gradient,) = feedforward.backprop(params, x, y).theta
    np.testing.assert_allclose(gradient, [[0.0, 1.0]], atol=1e-6)


def test_integer_weights_repeat_rows(x64):
    params, x, y, _ = _problem(6, SIZES)
    times = np.array([0, 1, 2, 3, 1, 0, 2, 1])
    repeated = np.repeat(x, times, axis=0), np.repeat(y, times, axis=0)
    for function in (feedforward.cost, feedforward.backprop, feedforward.score):
        chex.assert_trees_all_close(
            function(params, x, y, weights=times),
            function(params, *repeated),
            rtol=1e-12,
        )


def test_a_batch_without_weight_costs_nothing():
    """Nor does it pull: only the penalty is left. Concrete ones are refused."""
    params, x, y, w = _problem(6, SIZES)

    @jax.jit
    def both(w):
        options = {"l2": 0.3, "weights": w}
        cost = feedforward.cost(params, x, y, **options)
        return cost, feedforward.backprop(params, x, y, **options)

    cost, gradient = both(0 * w)
    squares = sum((theta[:, 1:] ** 2).sum() for theta in params.theta)
    np.testing.assert_allclose(cost, 0.15 * squares, rtol=1e-6)
    for slope, theta in zip(gradient.theta, params.theta, strict=True):
        np.testing.assert_allclose(slope[:, 1:], 0.3 * theta[:, 1:], rtol=1e-5)
        np.testing.assert_array_equal(slope[:, 0], 0)


@pytest.mark.parametrize(
    ("scheme", "bias", "weight"),
    [
        ("course", (6 / 1300) ** 0.5 / 3**0.5, (6 / 1300) ** 0.5 / 3**0.5),
        ("normal", 1.0, 1.0),
        ("scaled", 1.0, 1000**-0.5),
        ("glorot", 0.0, (2 / 1300) ** 0.5),
        ("he", 0.0, (2 / 1000) ** 0.5),
    ],
)
def test_schemes_have_their_spread(scheme, bias, weight):
    params = feedforward.init(jax.random.key(0), sizes=(1000, 300), scheme=scheme)
    (theta,) = params.theta
    assert theta.shape == (300, 1001)
    np.testing.assert_allclose(np.std(theta[:, 1:]), weight, rtol=0.01)
    np.testing.assert_allclose(np.std(theta[:, 0]), bias, rtol=0.15)
    assert abs(np.mean(theta[:, 1:])) < 0.01 * weight
    if scheme in ("course", "glorot"):
        assert np.abs(theta).max() <= (6 / 1300) ** 0.5


def test_init_in_the_width_asked_for():
    params = feedforward.init(jax.random.key(0), sizes=[3, 2], dtype="bfloat16")
    assert params.theta[0].dtype == jnp.bfloat16
    params = feedforward.init(jax.random.key(0), sizes=(3, 2))
    assert params.theta[0].dtype == jnp.float32


# --- fits, ensembles, diagnostics --------------------------------------------------


@pytest.mark.parametrize("solver", cases([optax.lbfgs, conjugate], quick=[optax.lbfgs]))
def test_fit_learns_xor(solver):
    """The smallest problem a single layer cannot solve."""
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = np.array([[0.0], [1.0], [1.0], [0.0]])
    keys = jax.random.split(jax.random.key(0), 4)

    def learn(key):
        params = feedforward.init(key, sizes=(2, 4, 1))
        return feedforward.fit(params, x, y, l2=1e-4, solver=solver, max_iter=200)

    fit = jaxml.best(jax.jit(jax.vmap(learn))(keys))
    np.testing.assert_array_equal(feedforward.predict(fit.params, x), [0, 1, 1, 0])
    assert float(fit.cost) < 0.1


def test_fit_cuts_off_derivatives_and_keeps_its_start():
    params, x, y, _ = _problem(8, SIZES)

    def final(l2):
        fit = feedforward.fit(
            params, x, y, l2=l2, solver=optax.sgd, learning_rate=0.1, max_iter=5
        )
        return fit.params.theta[0].sum()

    assert float(jax.grad(final)(0.1)) == 0


def test_fit_takes_other_options():
    """A network for regression, all options away from their defaults."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (50, 1))
    y = np.sin(3 * x)
    options = {"activation": "tanh", "output": "linear", "loss": "quadratic"}
    sizes = 1, 8, 1
    params = feedforward.init(
        jax.random.key(1), sizes=sizes, scheme="glorot", **options
    )
    fit = feedforward.fit(params, x, y)
    found = feedforward.outputs(fit.params, x)
    assert float(jnp.abs(found - y).max()) < 0.1
    cost = feedforward.cost(fit.params, x, y)
    np.testing.assert_allclose(fit.cost, cost, atol=1e-9)


def test_ensemble_averages_and_votes():
    """Three made-up networks of one layer, whose outputs are their biases."""
    outputs = np.array([[0.9, 0.1], [0.4, 0.6], [0.45, 0.55]])
    bias = np.log(outputs / (1 - outputs))
    theta = np.concatenate([bias[:, :, None], np.zeros((3, 2, 1))], axis=2)
    params = feedforward.Params((theta,))
    x = np.ones((4, 1))
    np.testing.assert_array_equal(feedforward.ensemble(params, x), [0] * 4)
    np.testing.assert_array_equal(feedforward.ensemble(params, x, vote=True), [1] * 4)


def test_ensemble_is_better_than_its_members_at_worst():
    params = _ensemble(0)
    _, x, y, _ = _problem(0, SIZES, m=40)
    each = [jax.tree.map(lambda theta, i=i: theta[i], params) for i in range(3)]
    members = [feedforward.predict(member, x) for member in each]
    majority = (np.mean(members, axis=0) > 0.5).astype(int)
    np.testing.assert_array_equal(feedforward.ensemble(params, x, vote=True), majority)


def test_slowdown_of_a_saturated_neuron(x64):
    """The single neuron of Nielsen's chapter 3: x = 1, y = 0, w = b = 2."""
    params = feedforward.Params((np.array([[2.0, 2.0]]),))
    x, y = np.array([[1.0]]), np.array([[0.0]])
    a = 1 / (1 + np.exp(-4.0))
    quadratic = feedforward.slowdown(replace(params, loss="quadratic"), x, y)
    entropy = feedforward.slowdown(params, x, y)
    np.testing.assert_allclose(entropy.gradient, [a], rtol=1e-12)
    # The ratio of the two is g'(z): that is the slowdown.
    ratio = quadratic.gradient / entropy.gradient
    np.testing.assert_allclose(ratio, [a * (1 - a)], rtol=1e-12)
    assert quadratic.saturated.tolist() == [1.0]
    params = feedforward.Params((np.array([[0.1, 0.1]]),))
    fresh = feedforward.slowdown(params, x, y)
    assert fresh.saturated.tolist() == [0.0]


def test_nielsens_neuron_learns_as_he_says(x64):
    """300 epochs of quadratic cost, rate 0.15, from (0.6, 0.9): it ends at 0.09."""
    x, y = np.array([[1.0]]), np.array([[0.0]])
    params = feedforward.Params((jnp.array([[0.9, 0.6]]),), loss="quadratic")
    np.testing.assert_allclose(feedforward.outputs(params, x), [[0.82]], atol=5e-3)
    options = {"solver": optax.sgd, "learning_rate": 0.15, "max_iter": 300}
    fit = feedforward.fit(params, x, y, tol=0.0, **options)
    np.testing.assert_allclose(
        feedforward.outputs(fit.params, x), [[0.0940]], atol=1e-3
    )


# --- bad input ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hinge"}, "^loss must be one of 'quadratic', 'cross-entropy'"),
        (
            {"output": "softmax"},
            "^output must be one of 'sigmoid', not 'softmax', with",
        ),
        ({"activation": "swish"}, "^activation must be one of 'sigmoid'"),
        ({"output": "swish", "loss": "quadratic"}, "^output must be one of 'sigmoid'"),
    ],
)
def test_wrong_options(options, message):
    """Of params, whoever made them; and of init, at once."""
    params, x, y, _ = _problem(0, SIZES, **options)
    with pytest.raises(ValueError, match=message):
        feedforward.cost(params, x, y)
    with pytest.raises(ValueError, match=message):
        feedforward.init(jax.random.key(0), sizes=SIZES, **options)


def test_wrong_penalties():
    params, x, y, _ = _problem(0, SIZES)
    with pytest.raises(ValueError, match=r"^l2 must lie in \[0, inf\), not -1.0"):
        feedforward.cost(params, x, y, l2=-1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (3,)}, "^sizes must name two layers or more"),
        ({"sizes": (3, 0, 2)}, "^sizes must be at least 1, not 0"),
        ({"sizes": 3}, "^sizes must be a tuple of sizes"),
        ({"sizes": (3, 2.5)}, "^sizes must be a Python int, not 2.5"),
        ({"sizes": (3, 2), "scheme": "lecun"}, "^scheme must be one of 'course'"),
        ({"sizes": (3, 2), "dtype": int}, "^dtype must be a float dtype"),
    ],
)
def test_wrong_starts(options, message):
    with pytest.raises(ValueError, match=message):
        feedforward.init(jax.random.key(0), **options)


TARGETS = [
    ("cross-entropy", "sigmoid", [-1.0, 0.5], "lie in"),
    ("cross-entropy", "sigmoid", [255.0, 0.0], "lie in"),
    ("log-likelihood", "softmax", [1.0, 1.0], "hold distributions"),
    ("log-likelihood", "softmax", [2.0, -1.0], "hold distributions"),
]


@pytest.mark.parametrize(("loss", "output", "row", "message"), TARGETS)
def test_targets_that_a_loss_is_not_for(loss, output, row, message):
    """Named; NaN or INVALID where they are traced; taken in rows of weight 0."""
    params, x, y, w = _problem(0, SIZES, loss=loss, output=output)
    wrong, without = y.copy(), w.copy()
    wrong[3], without[3] = row, 0
    functions = feedforward.cost, feedforward.backprop, feedforward.fit
    for function in functions:
        with pytest.raises(ValueError, match=rf"^y must {message}.*; row 3 holds"):
            function(params, x, wrong)

    @jax.jit
    def traced(y, weights):
        fit = feedforward.fit(params, x, y, max_iter=3, weights=weights)
        gradient = feedforward.backprop(params, x, y, weights=weights)
        cost = feedforward.cost(params, x, y, weights=weights)
        return cost, gradient.theta[0][0, 0], fit.status

    def weighed(weights):
        return feedforward.cost(params, x, wrong, weights=weights)

    *nan, status = traced(wrong, w)
    nan.append(jax.vmap(weighed)(w[None])[0])
    assert np.isnan(nan).all()
    assert status == Status.INVALID
    *same, status = traced(wrong, without)
    kept = np.arange(8) != 3
    left = feedforward.cost(params, x[kept], y[kept], weights=w[kept])
    np.testing.assert_allclose(same[0], left, rtol=1e-5)
    assert status < Status.INVALID
    np.testing.assert_allclose(weighed(without), left, rtol=1e-5)
    # Regression takes any.
    feedforward.cost(replace(params, loss="quadratic"), x, wrong)


def test_wrong_parameters_and_targets():
    params, x, y, _ = _problem(0, (3, 5, 4))
    first, _ = params.theta
    theta = r"^params.theta"
    cases = [
        (lambda: feedforward.forward(params, x[:, :2]), r"\[0\].* not \(s_2, 3\)"),
        (
            lambda: feedforward.forward(feedforward.Params((first, first)), x),
            r"\[1\] has shape \(5, 4\), not \(s_3, 6\)",
        ),
        *(
            (
                lambda wrong=wrong: feedforward.forward(feedforward.Params(wrong), x),
                " must be a tuple of arrays, not",
            )
            for wrong in ((), None, first, {"theta": first})
        ),
        (
            lambda: feedforward.ensemble(params, x),
            r"\[0\] has shape \(5, 4\), not \(e, rows0, columns0\)",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=theta + message):
            call()
    for wrong in (params.theta, None, first):
        message = r"^params must be a jaxml.networks.feedforward.Params\(theta, act"
        with pytest.raises(ValueError, match=message):
            feedforward.forward(wrong, x)
    with pytest.raises(
        ValueError, match=r"^y has shape \(8, 3\), not \(m, s_L\) where"
    ):
        feedforward.backprop(params, x, y[:, :3])
    with pytest.raises(
        ValueError, match=r"^params\.output must be one of 'sigmoid', 'softmax'"
    ):
        feedforward.probabilities(replace(params, output="linear"), x)
    assert neuron.named("tanh") is neuron.ACTIVATIONS["tanh"]


def test_params_of_equal_options_share_a_program():
    """Static fields are compared by value, a pair of one's own too."""

    def pair():
        return neuron.Activation(jnp.tanh, partial(jnp.power, x2=2))

    params, x, *_ = _problem(0, SIZES)
    jitted = jax.jit(lambda params: feedforward.outputs(params, x))
    for _ in range(2):
        jitted(replace(params, activation=pair()))
    assert jitted._cache_size() == 1
