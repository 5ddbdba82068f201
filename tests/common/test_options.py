"""What a fit was asked for travels in its Params: nothing has to be said again."""

import functools
import inspect

import jax
import numpy as np
import pytest

from jaxml import Status, feedforward, kernels, mixture, svm
from jaxml._check import by_value
from tests.common import samples
from tests.common.test_protocol import DECLARED

QUADRATIC = functools.partial(kernels.polynomial, degree=2)
MATERN = functools.partial(kernels.matern, smoothness=2.5)
KEY = jax.random.key(0)
# Options of each fit at values that are not the defaults, all at once.
OPTIONS = {
    "svm.fit": [{"loss": "hinge"}],
    "svm.kernel.fit": [
        {"kernel": QUADRATIC, "offset": 0.5},
        {"kernel": MATERN, "gamma": 0.3},
        {"kernel": "laplacian", "gamma": 0.3, "solver": "block"},
    ],
    "svm.one_class.fit": [{"kernel": QUADRATIC, "nu": 0.3}, {"kernel": MATERN}],
    "svm.regression.fit": [{"kernel": QUADRATIC, "epsilon": 0.2}],
    "svm.multiclass.fit": [{"kernel": QUADRATIC, "scheme": "one-vs-rest"}],
    "kernel_pca.fit": [{"kernel": QUADRATIC, "gamma": 0.3, "offset": 0.5}],
    "mixture.fit": [{"covariance": kind} for kind in ("tied", "diagonal", "spherical")],
    "feedforward.fit": [
        {"activation": "tanh", "output": "softmax", "loss": "log-likelihood"},
        {"activation": "relu", "output": "tanh", "loss": "quadratic"},
    ],
    "logistic.fit": [{"solver": "lbfgs", "intercept": False}],
    "softmax.fit": [{"solver": "lbfgs", "intercept": False}],
    "poisson.fit": [{"solver": "lbfgs", "intercept": False}],
    "linear.fit": [{"solver": "svd", "intercept": False}],
    "ridge.fit": [{"solver": "dual", "intercept": False}],
    "lasso.fit": [{"positive": True, "intercept": False}],
    "kmeans.fit": [{"max_iter": 50}],
    "pca.fit": [{"solver": "gram"}],
    "recommend.fit": [{"solver": "cg"}],
    "recommend.biased.fit": [{"solver": "cg"}],
}
STARTS = {
    "mixture.fit": lambda found, option: mixture.init(KEY, found["x"], k=2, **option),
    "feedforward.fit": lambda found, option: feedforward.init(
        KEY, sizes=(3, 4, 2), **option
    ),
}
CASES = [
    pytest.param(public, option, id=f"{public.id}-{i}")
    for public in DECLARED
    for i, option in enumerate(OPTIONS.get(public.id, ()))
]


def test_every_fit_with_an_option_is_asked():
    """Fits whose Params have static fields, and others that may be solved otherwise."""
    static = {
        p.id for p in DECLARED if p.name == "fit" and set(p.static) - {"max_iter"}
    }
    left = {"train.fit", "curve.fit", "svm.hulls.fit", "recommend.bpr.fit"}
    left |= {"recommend.implicit.fit"}  # users' functions, and one cost for several
    assert static - left <= {*OPTIONS}


@pytest.mark.parametrize(("public", "option"), CASES)
def test_nothing_has_to_be_said_again(public, option):
    """The cost is that of the fit; scores and predictions take params and rows."""
    found = samples.arguments(public)
    if public.id in STARTS:
        found["params"] = STARTS[public.id](found, option)
        option = {}
    if public.id == "feedforward.fit":
        found["y"] = np.eye(2, dtype=np.float32)[np.arange(len(found["x"])) % 2]
    found |= option
    fit = samples.call(public, found)
    assert fit.status < Status.UNBOUNDED
    for name, value in option.items():
        if isinstance(value, float):
            value = np.float32(value)
        assert getattr(fit.params, name, value) == by_value(name, value)
    module = public.module
    cost = getattr(module, "cost", None)
    if cost is not None and "user" not in inspect.signature(cost).parameters:
        given = said(cost, found, fit)
        assert not {*option} & {*given} - {"nu", "epsilon"}
        again = samples.call(public._replace(name="cost", function=cost), given)
        np.testing.assert_allclose(again, fit.cost, rtol=1e-5)
    for name in ("predict", "scores", "transform", "votes", "outputs", "log_density"):
        of_rows = getattr(module, name, None)
        if of_rows is None or "user" in inspect.signature(of_rows).parameters:
            continue
        needed = [
            p.name
            for p in inspect.signature(of_rows).parameters.values()
            if p.default is p.empty
        ]
        assert needed == ["params", "x"]
        assert len(of_rows(fit.params, found["x"])) == len(found["x"])


def said(cost, found, fit):
    """What the cost takes: the data, and the hyper-parameters of the fit."""
    taken = inspect.signature(cost).parameters
    given = {n: v for n, v in found.items() if n in taken and v is not None}
    return given | {"params": fit.params}


def test_predictions_are_those_of_the_options():
    """By formulas: tanh and softmax, and a quadratic kernel."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3)).astype(np.float32)
    net = feedforward.init(
        KEY, sizes=(3, 4, 2), activation="tanh", output="softmax", loss="log-likelihood"
    )
    one, two = (np.asarray(theta, float) for theta in net.theta)
    hidden = np.tanh(np.c_[np.ones(20), x] @ one.T)
    z = np.c_[np.ones(20), hidden] @ two.T
    wanted = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(feedforward.outputs(net, x), wanted, rtol=1e-4)
    y = (x[:, 0] > 0).astype(int)
    fit = svm.kernel.fit(x, y, kernel=QUADRATIC, gamma=0.3, offset=0.5)
    k = (0.3 * x @ x.T + 0.5) ** 2
    wanted = k @ np.asarray(fit.params.alpha) + float(fit.params.b)
    np.testing.assert_allclose(
        svm.kernel.scores(fit.params, x), wanted, rtol=1e-3, atol=1e-3
    )
