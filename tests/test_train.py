"""Mini-batch training: every row once an epoch, resuming, early stopping."""

import io
import sys
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import Status, feedforward, train
from jaxml.optimize import _bar as bar
from jaxml.optimize import _batches, _run
from tests.common.samples import Made

SIZES = (3, 4, 2)


def _update(learning_rate=0.2, **options):
    return train.descend(
        feedforward.cost,
        solver=partial(optax.sgd, momentum=0.9),
        learning_rate=learning_rate,
        **{"gradient": feedforward.backprop, **options},
    )


def _state(seed):
    params = feedforward.init(jax.random.key(seed), sizes=SIZES)
    return train.start(_update(), params, jax.random.key(seed + 1))


def _data(seed, m=12):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, 3)), np.eye(2)[rng.integers(0, 2, m)]


def _soft_data(seed):
    """Targets that differences do not lead out of [0, 1]."""
    x, y = _data(seed)
    return x, 0.1 + 0.8 * y


SAMPLES = {
    "update": Made(lambda seed: _update()),
    "state": Made(_state),
    "data": Made(_soft_data),
    "batch": 5,
    "epochs": 2,
    "validation": Made(_data),
    "score": feedforward.score,
    "patience": None,
    "steps": None,
}


def _count(state, key, batch):
    """An update that only writes down which rows it was given."""
    (rows,) = batch.data
    w = jnp.ones(rows.shape) if batch.weights is None else batch.weights
    return state, {"cost": jnp.float32(1), "rows": rows, "weights": w}


def _counted(m, batch, epochs=1, **options):
    """The rows and weights that epochs of batches hand to an update."""
    state = train.start(_count, (jnp.zeros(1),), jax.random.key(0))
    seen = []
    for _ in range(epochs):
        data = (jnp.arange(m),)
        state, metrics = train.epoch(
            jax.tree_util.Partial(_count), state, data, batch=batch, **options
        )
        seen.append((np.asarray(metrics["rows"]), np.asarray(metrics["weights"])))
    return seen


# --- batches -----------------------------------------------------------------------


@pytest.mark.parametrize(("m", "batch"), [(12, 4), (13, 5), (7, 7), (5, 1)])
def test_every_row_is_used_once_an_epoch(m, batch):
    """The last batch is padded by rows of weight 0."""
    (first, w), (second, _) = _counted(m, batch, epochs=2)
    assert first.shape == (-(-m // batch), batch)
    np.testing.assert_array_equal(np.sort(first[w > 0]), np.arange(m))
    assert w.sum() == m
    if m > 5:
        assert (first != second).any(), "the second epoch has the order of the first"


def test_own_weights_are_gathered_with_their_rows():
    weights = np.linspace(0.1, 1.3, 13)
    ((rows, w),) = _counted(13, 5, weights=weights)
    real = w > 0
    np.testing.assert_allclose(w[real], weights[rows[real]], rtol=1e-6)
    assert real.sum() == 13


def test_shuffles_are_uniform():
    """Each row stands in each place equally often: χ² over many keys."""
    keys = jax.random.split(jax.random.key(3), 6000)
    orders = np.asarray(jax.vmap(lambda key: _batches.shuffled(key, 6))(keys))
    counts = np.stack([np.bincount(column, minlength=6) for column in orders.T])
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert chi2 < 60  # 25 degrees of freedom: one in ten thousand
    # Neighbours too: the pairs in the first two places.
    pairs = np.bincount(orders[:, 0] * 6 + orders[:, 1], minlength=36)
    off = pairs.reshape(6, 6)[~np.eye(6, dtype=bool)]
    assert ((off - 200) ** 2 / 200).sum() < 70


@pytest.mark.parametrize("m", [2, 1000, 70_000])
def test_shuffles_are_permutations(m):
    order = np.asarray(
        jax.jit(_batches.shuffled, static_argnums=1)(jax.random.key(0), m)
    )
    np.testing.assert_array_equal(np.sort(order), np.arange(m))
    if m > 2:
        # Fixed points of a random permutation: one on average.
        assert (order == np.arange(m)).sum() < 10
        assert abs(np.corrcoef(order, np.arange(m))[0, 1]) < 0.1


def test_an_epoch_is_a_loop_of_steps():
    """Against plain NumPy-style steps over the rows that the epoch took."""
    x, y = (a.astype(np.float32) for a in _data(0))
    update = train.descend(feedforward.cost, learning_rate=0.3, l2=0.01)
    params = feedforward.init(jax.random.key(0), sizes=SIZES)
    state = train.start(update, params, jax.random.key(0))
    after, metrics = train.epoch(update, state, (x, y), batch=5)
    ((rows, w),) = _counted(12, 5)
    slope = jax.jit(jax.value_and_grad(feedforward.cost))
    for step, (own, weights) in enumerate(zip(rows, w, strict=True)):
        own = own[weights > 0]
        value, grad = slope(params, x[own], y[own], l2=0.01)
        np.testing.assert_allclose(metrics["cost"][step], value, rtol=1e-5)
        params = jax.tree.map(lambda p, g: p - 0.3 * g, params, grad)
    chex.assert_trees_all_close(after.params, params, rtol=1e-5)
    assert (int(after.epoch), int(after.position)) == (1, 0)


@pytest.mark.parametrize("holdout", [1e6, -1e6])
def test_a_batch_without_weight_is_no_step(holdout):
    """One row at a time, by hand: those of weight 0 move neither params nor memory."""
    x, y = (a.astype(np.float32) for a in _data(0))
    weights = np.tile([1.0, 0.0, 2.0], 4).astype(np.float32)
    x[weights == 0] = holdout
    params = _state(0).params
    state = train.start(_update(), params, jax.random.key(0))  # the order of _counted
    after, metrics = train.epoch(_update(), state, (x, y), batch=1, weights=weights)
    speed = jax.tree.map(jnp.zeros_like, params)
    slope = jax.jit(jax.value_and_grad(feedforward.cost))
    order = _counted(12, 1)[0][0][:, 0]
    costs = np.zeros(12, np.float32)
    for step, i in enumerate(order):
        if weights[i]:
            costs[step], grad = slope(params, x[i : i + 1], y[i : i + 1])
            speed = jax.tree.map(lambda v, g: 0.9 * v + g, speed, grad)
            params = jax.tree.map(lambda p, v: p - 0.2 * v, params, speed)
    chex.assert_trees_all_close(after.params, params, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["cost"], costs, rtol=1e-4)
    assert (int(after.epoch), int(after.position)) == (1, 0)
    options = {"batch": 1, "epochs": 1, "weights": weights}
    mean = np.average(costs, weights=weights[order])
    for fit in (
        train.fit(_update(), state, (x, y), **options),
        train.run(_update(), state, (x, y), **options)[0],
    ):
        assert int(fit.status) == Status.FINISHED
        np.testing.assert_allclose(fit.cost, mean, rtol=1e-4)


def test_folds_in_small_batches():
    """Some of their batches hold only rows of another fold."""
    folds = (np.arange(12) % 5 != np.arange(5)[:, None]).astype(np.float32)
    data = _data(0)

    def one(weights):
        return train.fit(_update(), _state(0), data, batch=2, epochs=2, weights=weights)

    fits = jax.vmap(one)(folds)
    assert fits.status.tolist() == [Status.FINISHED] * 5
    # In any unit: powers of two change no digit.
    for unit in (2.0**-100, 2.0**100):
        chex.assert_trees_all_equal(jax.vmap(one)(folds * np.float32(unit)), fits)


def test_autodiff_and_backprop_train_alike():
    state, data = _state(0), _data(0)
    by_hand = train.epoch(_update(l2=0.1), state, data, batch=4)[0]
    autodiff = train.epoch(_update(gradient=None, l2=0.1), state, data, batch=4)[0]
    chex.assert_trees_all_close(by_hand.params, autodiff.params, rtol=1e-5)


def test_schedules_count_batches():
    """A rate that is zero from the third batch on: nothing moves any more."""
    instance = optax.sgd(_falling(0.5))
    for solver, rate in ((_sgd_falling, 0.5), (instance, None)):
        update = train.descend(feedforward.cost, solver=solver, learning_rate=rate)
        state = train.start(update, _state(0).params, jax.random.key(1))
        state, _ = train.epoch(update, state, _data(0), batch=6)
        later, _ = train.epoch(update, state, _data(0), batch=6)
        chex.assert_trees_all_equal(state.params, later.params)
        before, after = _state(0).params.theta, state.params.theta
        assert any(bool((a != b).any()) for a, b in zip(before, after, strict=True))


def _falling(learning_rate):
    return optax.linear_schedule(learning_rate, end_value=0.0, transition_steps=2)


def _sgd_falling(learning_rate):
    return optax.sgd(_falling(learning_rate))


def test_the_loss_and_activations_travel_in_params():
    """Options of the network, as init was given them, reach cost and gradient alike."""
    options = {"activation": "tanh", "output": "linear", "loss": "quadratic"}
    params = feedforward.init(jax.random.key(0), sizes=SIZES, **options)
    x, y = _data(0)
    after = []
    for gradient in (feedforward.backprop, None):
        update = _update(gradient=gradient, l2=0.1)
        state = train.start(update, params, jax.random.key(1))
        state, metrics = train.epoch(update, state, (x, y), batch=12)
        np.testing.assert_allclose(
            metrics["cost"][0], feedforward.cost(params, x, y, l2=0.1), rtol=1e-6
        )
        after.append(state.params)
    chex.assert_trees_all_close(*after, rtol=1e-5)
    assert after[0].loss == "quadratic"


def _noisy(params, key, x, y, *, weights=None):
    noise = jax.random.normal(key, x.shape)
    return feedforward.cost(params, x + 0.1 * noise, y, weights=weights)


def test_stochastic_costs_get_a_key_of_their_own():
    update = train.descend(_noisy, learning_rate=0.1, stochastic=True)
    one, two = (
        train.start(update, _state(0).params, jax.random.key(seed)) for seed in (0, 1)
    )
    first = train.epoch(update, one, _data(0), batch=12)[1]["cost"]
    again = train.epoch(update, one, _data(0), batch=12)[1]["cost"]
    other = train.epoch(update, two, _data(0), batch=12)[1]["cost"]
    # One batch of all rows: only the noise can differ.
    assert float(first[0]) == float(again[0]) != float(other[0])


# --- whole runs --------------------------------------------------------------------


def test_a_run_resumes_bit_for_bit():
    update, data = _update(), _data(0)
    whole, last = train.run(update, _state(0), data, batch=5, epochs=5)
    half, middle = train.run(update, _state(0), data, batch=5, epochs=2)
    saved = jax.tree.map(_through_bytes, middle)
    rest, resumed = train.run(update, saved, data, batch=5, epochs=3)
    chex.assert_trees_all_equal(whole.params, rest.params)
    chex.assert_trees_all_equal(last.memory, resumed.memory)
    assert int(resumed.epoch) == 5
    joined = np.concatenate([half.history["cost"], rest.history["cost"]])
    np.testing.assert_array_equal(joined, whole.history["cost"])


def _through_bytes(leaf):
    """To a file and back."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_through_bytes(jax.random.key_data(leaf)))
    file = io.BytesIO()
    np.save(file, np.asarray(leaf), allow_pickle=False)
    file.seek(0)
    return jnp.asarray(np.load(file, allow_pickle=False))


def test_a_run_resumes_inside_an_epoch():
    update, data = _update(), _data(0)
    _, last = train.run(update, _state(0), data, batch=3, epochs=3)
    inside, metrics = train.epoch(update, _state(0), data, batch=3, steps=2)
    assert (int(inside.epoch), int(inside.position)) == (0, 2)
    assert metrics["cost"].shape == (2,)
    _, resumed = train.run(update, inside, data, batch=3, epochs=3)
    chex.assert_trees_all_equal(last.params, resumed.params)
    fit = train.fit(update, inside, data, batch=3, epochs=1)
    assert int(fit.status) == Status.INVALID


def test_the_pure_run_is_the_host_run():
    update, data = _update(), _data(0)
    options = {"batch": 5, "epochs": 3, "validation": data, "score": feedforward.score}
    pure = train.fit(update, _state(0), data, **options)
    host, _ = train.run(update, _state(0), data, **options)
    chex.assert_trees_all_close(pure, host, rtol=1e-5)
    assert int(pure.status) == Status.FINISHED
    assert int(pure.steps) == 3
    assert pure.history["cost"].shape == (3,)


def test_vmap_over_seeds_rates_and_penalties():
    """Each member of the batch is the run it would be alone; one trace for all."""
    data = _data(0)
    rates, l2s = jnp.array([0.1, 0.3]), jnp.array([0.0, 0.1])
    seeds = jnp.arange(2)

    def whole(seed, rate, l2):
        update = _update(rate, l2=l2)
        key = jax.random.key(seed)
        state = train.start(update, feedforward.init(key, sizes=SIZES), key)
        return train.fit(update, state, data, batch=5, epochs=2)

    before = train.fit.traces
    many = jax.vmap(whole)(seeds, rates, l2s)
    assert train.fit.traces == before + 1
    for i in range(2):
        alone = whole(seeds[i], rates[i], l2s[i])
        member = jax.tree.map(lambda a, i=i: a[i], many)
        chex.assert_trees_all_close(alone, member, rtol=1e-4, atol=1e-5)
    assert float(many.cost[0]) != float(many.cost[1])


def test_new_values_never_trace_again():
    data = _data(0)
    train.epoch(_update(0.1, l2=0.1), _state(0), data, batch=5)
    before = train.epoch.traces
    for rate in (0.2, np.float64(0.3), jnp.float32(0.4), 1):
        train.epoch(_update(rate, l2=0.2), _state(1), data, batch=5)
    assert train.epoch.traces == before


def _stays(state, key, batch):
    """An update whose parameters count the batches, whatever the data."""
    return state._replace(params=state.params + 1), {"cost": jnp.sum(state.params)}


def _peak(params, top):
    """Best where params equal top."""
    return -((params - top) ** 2).sum()


@pytest.mark.parametrize("runner", [train.fit, train.run])
def test_early_stopping_returns_the_best_validated(runner):
    update = jax.tree_util.Partial(_stays)
    state = train.start(update, jnp.zeros(()), jax.random.key(0))
    options = {"validation": (jnp.float32(4.0),), "score": _peak, "patience": 3}
    result = runner(update, state, (jnp.zeros(6),), batch=6, epochs=20, **options)
    fit = result[0] if runner is train.run else result
    assert int(fit.status) == Status.STOPPED
    assert int(fit.steps) == 7  # the best was the fourth, three more without gain
    assert float(fit.params) == 4
    assert int(fit.residual) == 3
    score = np.asarray(fit.history["validation_score"])
    np.testing.assert_array_equal(score[:7], -((np.arange(1, 8) - 4.0) ** 2))
    assert not np.isfinite(score[7:]).any()
    assert len(score) == 20


def test_a_run_that_diverges_says_so():
    update = train.descend(_cube, learning_rate=1e6)
    state = train.start(update, jnp.ones(3), jax.random.key(0))
    fit, _ = train.run(update, state, (jnp.ones((4, 3)),), batch=2, epochs=50)
    pure = train.fit(update, state, (jnp.ones((4, 3)),), batch=2, epochs=50)
    assert int(fit.status) == int(pure.status) == Status.NONFINITE
    assert int(fit.steps) < 50


def _cube(params, x, *, weights=None):
    return jnp.mean((x @ params) ** 4)


@pytest.mark.parametrize("runner", [train.fit, train.run])
def test_a_run_that_ends_above_its_start_says_so(runner):
    """No NaN anywhere: units that are saturated for good."""
    update = train.descend(feedforward.cost, learning_rate=1e8)
    state = train.start(update, _state(0).params, jax.random.key(0))
    result = runner(update, state, _data(0), batch=5, epochs=3)
    fit = result[0] if runner is train.run else result
    assert np.isfinite(fit.cost)
    assert fit.cost > 1e3
    assert int(fit.status) == Status.STALLED


@pytest.mark.parametrize("runner", [train.fit, train.run])
def test_noise_is_no_rise(runner):
    """Batches of one row cost 0 or 1, whatever is learned: the first tells little."""
    update = train.descend(_fixed, learning_rate=0.1)
    data = (np.arange(12) % 2 * 1.0,)
    for seed in range(4):
        state = train.start(update, jnp.zeros(()), jax.random.key(seed))
        result = runner(update, state, data, batch=1, epochs=1)
        fit = result[0] if runner is train.run else result
        assert (int(fit.status), fit.cost) == (Status.FINISHED, 0.5)


def _fixed(params, y):
    return jnp.mean(y) + 0 * params


def test_a_run_that_falls_needs_no_second_look():
    """Its start is compared with what the run knows: no other program is compiled."""
    before = _run._first_cost.traces
    train.run(_update(), _state(0), _data(0), batch=5, epochs=2)
    assert _run._first_cost.traces == before


def _no_score(params, top):
    return params * jnp.nan


@pytest.mark.parametrize("patience", [None, 1])
@pytest.mark.parametrize("runner", [train.fit, train.run])
def test_a_score_of_nan_is_told(runner, patience):
    update = jax.tree_util.Partial(_stays)
    state = train.start(update, jnp.zeros(()), jax.random.key(0))
    options = {"validation": (0.0,), "score": _no_score, "patience": patience}
    result = runner(update, state, (jnp.zeros(6),), batch=6, epochs=3, **options)
    fit = result[0] if runner is train.run else result
    assert (int(fit.status), int(fit.steps)) == (Status.NONFINITE, 1)


# --- the host ----------------------------------------------------------------------


def test_ctrl_c_keeps_what_was_learned():
    """The interrupt comes after the second epoch was taken."""
    update, data = _update(), _data(0)

    def interrupt(state, record):
        if int(state.epoch) == 2:
            raise KeyboardInterrupt

    fit, state = train.run(update, _state(0), data, batch=5, epochs=9, after=interrupt)
    assert int(fit.status) == Status.INTERRUPTED
    expected, last = train.run(update, _state(0), data, batch=5, epochs=2)
    chex.assert_trees_all_equal(fit.params, expected.params)
    chex.assert_trees_all_equal(state, last)
    rest, _ = train.run(update, state, data, batch=5, epochs=1)
    whole, _ = train.run(update, _state(0), data, batch=5, epochs=3)
    chex.assert_trees_all_equal(rest.params, whole.params)


def test_an_interrupt_before_the_first_epoch():
    class Stop:
        def __call__(self, state, key, batch):
            raise KeyboardInterrupt

    update = jax.tree_util.Partial(Stop())
    state = train.start(update, jnp.ones(2), jax.random.key(0))
    fit, same = train.run(update, state, (jnp.ones(4),), batch=2, epochs=3)
    assert int(fit.status) == Status.INTERRUPTED
    assert int(fit.steps) == 0
    chex.assert_trees_all_equal(same, state)


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_silent_off_a_terminal(capsys):
    train.run(_update(), _state(0), _data(0), batch=5, epochs=2)
    assert capsys.readouterr() == ("", "")


def test_a_bar_at_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", _Terminal())
    train.run(_update(), _state(0), _data(0), batch=5, epochs=2)
    assert "epoch" in sys.stderr.getvalue()


def test_a_line_an_epoch_without_tqdm(monkeypatch):
    monkeypatch.setattr(sys, "stderr", _Terminal())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    train.run(_update(), _state(0), _data(0), batch=5, epochs=2)
    lines = sys.stderr.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "cost" in lines[0]


def test_writing_above_the_bar(capsys, monkeypatch):
    bar.write("with tqdm")
    monkeypatch.setitem(sys.modules, "tqdm", None)
    bar.write("without")
    assert capsys.readouterr().out == "with tqdm\nwithout\n"


def test_data_are_the_runs_own():
    """NumPy memory may change under a run."""
    x, y = _data(0)
    expected, _ = train.run(_update(), _state(0), (x, y), batch=5, epochs=3)

    def spoil(state, record):
        x[:] = np.nan

    fit, _ = train.run(_update(), _state(0), (x, y), batch=5, epochs=3, after=spoil)
    chex.assert_trees_all_equal(fit.params, expected.params)


# --- bad input ---------------------------------------------------------------------


def _rows(params, x, y):
    return x[:, 0]


def test_bad_input():
    update, state, data = _update(), _state(0), _data(0)
    cases = [
        (lambda: train.epoch(update, state, data, batch=13), "^batch must be in 1 … m"),
        (
            lambda: train.epoch(update, state, data, batch=0),
            "^batch must be at least 1",
        ),
        (
            lambda: train.epoch(update, state, data, batch=3, steps=3),
            "^steps must divide",
        ),
        (
            lambda: train.epoch(update, state, (data[0], data[1][:5]), batch=3),
            "^data must be arrays with equal row counts",
        ),
        (
            lambda: train.run(
                update, state, (data[0] * np.nan, data[1]), batch=3, epochs=1
            ),
            r"^data\[0\] holds 36 non-finite values, the first at row 0, column 0",
        ),
        (
            lambda: train.run(update, state, data, batch=3, epochs=1, patience=1),
            "^patience needs validation and score",
        ),
        (
            lambda: train.fit(update, state, data, batch=3, epochs=1, validation=data),
            "^score must be given",
        ),
        *(
            (
                lambda m=m, runner=runner, batch=batch: runner(
                    update, state, data, weights=np.ones(m), **batch
                ),
                rf"^weights has shape \({m},\), not \(m,\) where m = 12",
            )
            for m in (11, 13)
            for runner, batch in (
                (train.epoch, {"batch": 3}),
                (train.fit, {"batch": 3, "epochs": 1}),
                (train.run, {"batch": 3, "epochs": 1}),
            )
        ),
        (
            lambda: train.fit(
                update, state, data, batch=3, epochs=1, validation=data, score=_rows
            ),
            r"^score must return a real scalar, not ",
        ),
        (lambda: train.start(update, state.params, 0), "^key must be made by"),
        (lambda: train.descend(feedforward.cost), "^learning_rate must be given"),
        (
            lambda: train.descend(_rows, learning_rate=1, loss="x"),
            r"^loss is an option: functools.partial\(cost, loss=…\)",
        ),
        (lambda: train.descend("cost", learning_rate=1), "^cost must be a function"),
        (
            lambda: train.descend(feedforward.cost, learning_rate=1, gradient="x"),
            "^gradient must be a function, not 'x'",
        ),
        (
            lambda: train.descend(
                feedforward.cost, solver=optax.sgd(0.1), learning_rate=1
            ),
            "^learning_rate must be None: solver is made with its own",
        ),
        (
            lambda: train.descend(feedforward.cost, solver="adam", learning_rate=1),
            "^solver must be an optimiser such as optax.adam",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
