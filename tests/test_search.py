"""Points to try, and descent on hyper-parameters."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import model_selection as oracle

from jaxml import Status
from jaxml.evaluate import selection
from tests.test_scores import FOLDS, KEY, X, Y, mean_squares, ridge

SAMPLES = {
    "fit": ridge,
    "cost": mean_squares,
    "params": {"l2": np.array(0.5)},
    "x": np.random.default_rng(1).normal(size=(12, 3)),
    "y": np.random.default_rng(0).normal(size=12),
    "folds": selection.k_fold(KEY, m=12, folds=3),
    "learning_rate": None,
}


# --- points ----------------------------------------------------------------------


def test_grid_is_the_product():
    points = selection.grid(l2=[1, 0.1], gamma=(1, 2, 3))
    wanted = list(oracle.ParameterGrid({"a_l2": [1, 0.1], "b_gamma": [1, 2, 3]}))
    np.testing.assert_allclose(points["l2"], [p["a_l2"] for p in wanted])
    np.testing.assert_allclose(points["gamma"], [p["b_gamma"] for p in wanted])


def test_random_search_over_forty_decades():
    """Their ratio is no number of float32."""
    points = selection.random_search(KEY, draws=4000, l2=(1e-20, 1e20))["l2"]
    logs = np.log10(np.asarray(points, float))
    assert logs.min() >= -20
    assert logs.max() <= 20
    counts = np.histogram(logs, np.linspace(-20, 20, 11))[0]
    np.testing.assert_allclose(counts, 400, atol=4 * np.sqrt(400))
    wide = selection.random_search(KEY, draws=4000, log=False, l2=(-3e38, 3e38))["l2"]
    np.testing.assert_allclose(np.std(np.asarray(wide, float)), 3e38 / 3**0.5, 0.05)


@pytest.mark.parametrize("pair", [(1e-50, 1.0), (1.0, 1e39), (1.0, 1.0)])
def test_limits_that_the_draws_cannot_have(pair):
    with pytest.raises(ValueError, match=r"^l2 must be \(low, high\)"):
        selection.random_search(KEY, draws=3, l2=pair)


@pytest.mark.parametrize("values", [["a"], [10**400], [np.nan, 1.0], [None]])
def test_a_grid_of_no_numbers(values):
    with pytest.raises(ValueError, match=r"^l2 "):
        selection.grid(l2=values)


def test_random_search_is_uniform_in_the_log():
    points = selection.random_search(KEY, draws=4000, l2=(1e-4, 1e2), gamma=(1, 2))
    assert set(points) == {"l2", "gamma"}
    logs = np.log10(points["l2"])
    assert logs.min() >= -4
    assert logs.max() <= 2
    edges = np.linspace(-4, 2, 11)
    counts = np.histogram(logs, edges)[0]
    np.testing.assert_allclose(counts, 400, atol=4 * np.sqrt(400))
    assert abs(np.corrcoef(logs, points["gamma"])[0, 1]) < 4 / np.sqrt(4000)
    flat = selection.random_search(KEY, draws=4000, log=False, rate=(-1, 3))["rate"]
    np.testing.assert_allclose(np.histogram(flat, 4, (-1, 3))[0], 1000, atol=120)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: selection.grid(), "lists must name"),
        (lambda: selection.grid(l2=1.0), "l2 must be a list of numbers, not 1.0"),
        (lambda: selection.random_search(KEY, draws=3), "limits must name"),
        (lambda: selection.random_search(KEY, draws=0, l2=(1, 2)), "draws must be"),
        (lambda: selection.random_search(KEY, draws=3, l2=(0, 2)), r"l2 must be \(low"),
        (lambda: selection.random_search(KEY, draws=3, l2=2), r"l2 must be \(low"),
        (lambda: selection.random_search(0, draws=3, l2=(1, 2)), "key must be made by"),
    ],
)
def test_bad_points(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


# --- descent ---------------------------------------------------------------------


def test_descend_finds_what_a_fine_grid_finds(x64):
    before = selection.descend.traces
    for start in (3.0, 1e-3):
        found = selection.descend(
            {"l2": start}, ridge, mean_squares, X, Y, folds=FOLDS, tol=1e-7
        )
        assert found.status == Status.CONVERGED
        fine = np.geomspace(1e-3, 10, 4001)
        scores = selection.cross_validate(
            ridge,
            mean_squares,
            X,
            Y,
            folds=FOLDS,
            grid={"l2": fine},
            greater_is_better=False,
        )
        assert found.cost <= scores.mean.min()
        np.testing.assert_allclose(found.cost, scores.mean.min(), rtol=1e-6)
        np.testing.assert_allclose(found.params["l2"], fine[scores.best], rtol=3e-3)
    assert selection.descend.traces == before + 1


def test_descend_in_any_unit(x64):
    """The cost is one of squares: 2^-80, or 1e-24, of what it is elsewhere."""
    run = {"folds": FOLDS}
    one, other = (
        selection.descend({"l2": 3.0}, ridge, mean_squares, X, size * Y, **run)
        for size in (1.0, 2.0**-40)
    )
    assert one.status == other.status == Status.CONVERGED
    assert one.steps > 1
    np.testing.assert_allclose(other.params["l2"], one.params["l2"], rtol=1e-9)
    np.testing.assert_allclose(other.cost * 2.0**80, one.cost, rtol=1e-9)


@pytest.mark.long
def test_descend_many_hyper_parameters(x64):
    """A penalty for each feature: those that carry nothing get the largest."""
    random = np.random.default_rng(5)
    x = random.normal(size=(80, 6))
    y = x[:, :3] @ [2, -1, 1] + random.normal(size=80)
    folds = selection.k_fold(KEY, m=80, folds=5)
    found = selection.descend(
        {"log_scale": np.ones(6)},
        _automatic,
        mean_squares,
        x,
        y,
        folds=folds,
        solver=optax.adam,
        learning_rate=0.1,
        tol=1e-9,
        max_iter=150,
    )
    penalties = np.asarray(found.params["log_scale"])
    assert penalties[3:].min() > 10 * penalties[:3].max()
    history = np.asarray(found.history)
    assert history[-1] < history[0]


def _automatic(x, y, *, weights, log_scale):
    """Ridge on columns divided by the root of their penalties."""
    found = ridge(x / jnp.sqrt(log_scale)[None], y, l2=0.1, weights=weights)
    v, b = found.params
    return found._replace(params=(v / jnp.sqrt(log_scale), b))


@pytest.mark.long
def test_descend_stops_where_a_fit_fails():
    found = selection.descend(
        {"l2": 1e7}, ridge, mean_squares, X, Y, folds=FOLDS, max_iter=5
    )
    assert found.status == Status.NONFINITE
    found = selection.descend(
        {"l2": -1.0}, ridge, mean_squares, X, Y, folds=FOLDS, max_iter=5
    )
    assert found.status == Status.NONFINITE
