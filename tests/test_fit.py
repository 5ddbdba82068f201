"""The one loop, its statuses and its history; check and best."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import Fit, Status, best, check
from jaxml._status import SENTENCES
from jaxml.optimize import iterate
from jaxml.optimize._fit import FitError, Progress


def halve(x):
    """Half of x; cost and residual are what is left."""
    x = 0.5 * x
    return x, Progress(x, x)


def stay(x):
    return x, Progress(x, x)


def start(x):
    return Progress(x, x)


ONE = jnp.float32(1)


def test_statuses_are_in_order_of_gravity():
    names = (
        "CONVERGED FINISHED STOPPED INTERRUPTED EXHAUSTED STALLED UNBOUNDED SINGULAR"
    )
    assert [s.name for s in Status if s >= 0] == [
        *names.split(),
        "INVALID",
        "NONFINITE",
    ]
    assert list(range(-1, 10)) == sorted(Status)
    assert all(s.sentence == SENTENCES[s] for s in Status)
    assert len(set(SENTENCES.values())) == len(Status)
    # What a training run may end as is said of it too.
    assert "training" in Status.STALLED.sentence
    assert "score" in Status.NONFINITE.sentence


def test_converged():
    fit = iterate(halve, ONE, tol=0.1, max_iter=20)
    assert (fit.status, fit.steps) == (Status.CONVERGED, 4)
    assert fit.params == fit.cost == fit.residual == 1 / 16
    np.testing.assert_array_equal(fit.history[:4], [1 / 2, 1 / 4, 1 / 8, 1 / 16])
    assert np.isinf(fit.history[4:]).all()
    assert fit.history.shape == (20,)


def test_a_start_within_tol_takes_no_step():
    fit = iterate(halve, ONE, start(ONE), tol=1.0, max_iter=20)
    assert (fit.status, fit.steps, fit.params) == (Status.CONVERGED, 0, 1)
    assert np.isinf(fit.history).all()


def test_exhausted():
    fit = iterate(halve, ONE, start(ONE), tol=1e-3, max_iter=3)
    assert (fit.status, fit.steps, fit.params) == (Status.EXHAUSTED, 3, 1 / 8)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_steps_asked_for_are_finished(wrap):
    """tol = 0 asks for max_iter steps, also where it is traced; check passes them."""
    fit = wrap(lambda tol: iterate(halve, ONE, start(ONE), tol=tol, max_iter=3))(0.0)
    assert (fit.status, fit.steps, fit.params) == (Status.FINISHED, 3, 1 / 8)
    assert check(fit) is fit


def test_a_failure_is_seen_when_printed():
    fit = iterate(halve, ONE, start(ONE), tol=1e-3, max_iter=3)
    assert repr(fit).startswith("Fit(EXHAUSTED: max_iter steps were taken and the")
    assert "history" in str(fit)
    assert len(str(fit)) < 300
    batch = jax.vmap(lambda tol: iterate(halve, ONE, tol=tol, max_iter=3))
    assert repr(batch(jnp.array([1e-3, 0.5, 0.5]))).startswith(
        "Fit(2 CONVERGED, 1 EXHAUSTED: "
    )
    shapes = jax.eval_shape(batch, ONE[None])
    assert repr(shapes).startswith("Fit(params=")


def test_the_error_can_be_pickled():
    """Else it would break the pool of a worker process."""
    fit = iterate(halve, ONE, start(ONE), tol=1e-3, max_iter=3)
    with pytest.raises(FitError) as caught:
        check(fit)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.mask) == (str(caught.value), caught.value.mask)


def test_stalled_by_patience():
    fit = iterate(stay, ONE, start(ONE), tol=0.0, max_iter=50, patience=5)
    # The first step counts as an improvement: nothing was known before it.
    assert (fit.status, fit.steps) == (Status.STALLED, 6)
    forever = iterate(stay, ONE, start(ONE), tol=0.0, max_iter=50)
    assert (forever.status, forever.steps) == (Status.FINISHED, 50)


def test_patience_starts_again_where_cost_or_residual_improves():
    def step(i):
        i = i + 1
        # cost improves at steps 1 and 4, the residual at 1 and 7: 3 + 3 + 4 without.
        cost = jnp.where(i < 4, 5.0, 4.0)
        residual = jnp.where(i < 7, 3.0, 2.0)
        return i, Progress(cost, residual)

    fit = iterate(step, jnp.int32(0), tol=0.0, max_iter=50, patience=3)
    assert (fit.status, fit.steps) == (Status.STALLED, 10)


@pytest.mark.parametrize(
    ("cost", "residual"),
    [(np.nan, 1.0), (np.inf, 1.0), (-np.inf, 1.0), (1.0, np.nan), (np.nan, 0.0)],
)
def test_nonfinite(cost, residual):
    def step(x):
        return x, Progress(x + cost, jnp.full_like(x, residual))

    fit = iterate(step, jnp.float32(0), tol=0.1, max_iter=9)
    assert (fit.status, fit.steps) == (Status.NONFINITE, 1)


def test_an_infinite_residual_goes_on():
    """A residual that is not known yet is inf."""

    def step(x):
        return x + 1, Progress(x, jnp.where(x < 3, jnp.inf, 0.0))

    fit = iterate(step, jnp.float32(0), tol=0.0, max_iter=9)
    assert (fit.status, fit.steps) == (Status.CONVERGED, 4)


@pytest.mark.parametrize("said", [Status.SINGULAR, Status.UNBOUNDED, Status.INVALID])
def test_the_step_ends_the_loop(said):
    def step(x):
        x = 0.5 * x
        return x, Progress(x, x, jnp.where(x < 0.3, said, Status.RUNNING))

    fit = iterate(step, ONE, tol=0.0, max_iter=9)
    assert (fit.status, fit.steps) == (said, 2)
    # What the step says of a singular system stands although the residual is small.
    assert iterate(step, ONE, tol=0.3, max_iter=9).status == said
    # A finite cost is asked for first.
    burst = iterate(
        lambda x: (x, Progress(x + jnp.nan, x, said)), ONE, tol=0.0, max_iter=9
    )
    assert burst.status == Status.NONFINITE


def test_stalled_within_tol_is_converged():
    fit = iterate(
        lambda x: (x, Progress(x, 0.5 * x, Status.STALLED)), ONE, tol=0.5, max_iter=9
    )
    assert fit.status == Status.CONVERGED


@pytest.mark.parametrize(("max_iter", "stride"), [(512, 1), (513, 2), (1500, 3)])
def test_history_has_at_most_512_places(max_iter, stride):
    def count(i):
        return i + 1, Progress(i + 1, jnp.inf)

    fit = iterate(count, jnp.float32(0), tol=0.0, max_iter=max_iter)
    assert fit.history.shape == (512,)
    recorded = np.arange(stride, max_iter + 1, stride)
    np.testing.assert_array_equal(fit.history[: recorded.size], recorded)
    assert np.isinf(fit.history[recorded.size :]).all()


def test_history_holds_any_record_in_its_dtype(x64):
    def step(x):
        x = 0.5 * x
        return x, Progress(x, x, record={"a": x, "b": x.astype(jnp.float32)})

    fit = iterate(step, jnp.float64(1), tol=0.0, max_iter=4, history_length=2)
    assert (fit.history["a"].dtype, fit.history["b"].dtype) == ("float64", "float32")
    np.testing.assert_array_equal(fit.history["a"], [1 / 4, 1 / 16])
    assert fit.cost.dtype == fit.residual.dtype == "float64"
    assert fit.status.dtype == fit.steps.dtype == "int32"


def halve_small(x):
    """Halve x to within 1e-3; above 100 nothing changes. Exact in binary."""

    def step(x):
        x = jnp.where(x > 100, x, 0.5 * x)
        return x, Progress(x, jnp.abs(x))

    return iterate(step, x, tol=1e-3, max_iter=20, patience=3)


def test_vmap_freezes_lanes_that_have_ended():
    starts = jnp.array([1e-3, 1.0, 70.0, 300.0, jnp.nan, 1e-2])
    many = jax.jit(jax.vmap(halve_small))(starts)
    assert many.steps.tolist() == [1, 10, 17, 4, 1, 4]
    assert many.status.tolist() == [0, 0, 0, Status.STALLED, Status.NONFINITE, 0]
    one = jax.jit(halve_small)
    for i in range(starts.size):
        for batched, alone in zip(
            jax.tree.leaves(many), jax.tree.leaves(one(starts[i]))
        ):
            np.testing.assert_array_equal(batched[i], alone)


def test_under_scan():
    def body(carry, a):
        fit = halve_small(a)
        return carry + fit.steps, (fit.params, fit.status)

    total, (last, status) = jax.lax.scan(body, 0, jnp.array([1.0, 2.0, 300.0]))
    np.testing.assert_array_equal(last, [2**-10, 2**-10, 300])
    assert status.tolist() == [Status.CONVERGED, Status.CONVERGED, Status.STALLED]
    assert total == 10 + 11 + 4


# --- check and best ------------------------------------------------------------------


def made(*status, cost=None):
    """Fits with these statuses, stacked; one fit if there is one."""
    status = jnp.array(status if len(status) > 1 else status[0], jnp.int32)
    shape = status.shape
    cost = jnp.zeros(shape) if cost is None else jnp.array(cost)
    params = jnp.arange(max(status.size, 1), dtype=float).reshape(shape)
    return Fit(params, cost, cost + 0.25, status + 10, status, cost)


@pytest.mark.parametrize("status", [s for s in Status if s >= 0])
def test_check_raises_from_exhausted_on(status):
    fit = made(status)
    if status < Status.EXHAUSTED:
        assert check(fit) is fit
        return
    message = (
        f"{status.name}: {status.sentence} Residual 0.25 after {status + 10} steps."
    )
    with pytest.raises(FitError) as caught:
        check(fit)
    assert str(caught.value) == message
    assert caught.value.mask.shape == ()
    assert caught.value.mask


def test_check_names_the_gravest_of_a_batch():
    fits = jax.tree.map(
        lambda leaf: leaf.reshape(2, 3),
        made(0, Status.STALLED, 1, Status.SINGULAR, 2, 3),
    )
    with pytest.raises(FitError) as caught:
        check(fits)
    text = r"2 of 6 fits failed, the gravest at [1, 0]. SINGULAR: "
    assert str(caught.value).startswith(text)
    np.testing.assert_array_equal(caught.value.mask, [[0, 1, 0], [1, 0, 0]])
    assert check(made(0, 1, 2, 3)).status.shape == (4,)


def test_check_is_not_for_jit():
    for transform in (jax.jit, jax.vmap):
        with pytest.raises(ValueError, match=r"^fit is traced: call check outside jit"):
            transform(check)(made(0, 0))


def test_best():
    status = 0, Status.STALLED, Status.UNBOUNDED, 0, Status.NONFINITE
    fits = made(*status, cost=[3.0, 1.0, -9.0, 2.0, np.nan])
    for choose in (best, jax.jit(best)):
        chosen = choose(fits)
        assert (chosen.params, chosen.cost) == (1, 1)
        assert chosen.status == Status.STALLED
    nan = made(0, 0, cost=[np.nan, 5.0])
    assert best(nan).params == 1


def test_the_best_of_bad_ones_says_so():
    fits = made(Status.SINGULAR, Status.UNBOUNDED, cost=[1.0, 2.0])
    assert best(fits).status >= Status.UNBOUNDED


@pytest.mark.parametrize("fits", [made(0), jax.tree.map(lambda a: a[None], made(0, 0))])
def test_best_wants_one_axis(fits):
    with pytest.raises(ValueError, match=r"^fits must be stacked on one axis, not"):
        best(fits)


def test_a_flag_is_raised_but_never_lowered():
    fit = Fit.closed(jnp.zeros(2), jnp.float32(1), jnp.float32(0), Status.SINGULAR)
    assert (fit.steps, fit.status) == (0, Status.SINGULAR)
    assert fit.history.shape == (1,)
    assert fit.flag(True, Status.NONFINITE).status == Status.NONFINITE
    assert fit.flag(True, Status.STALLED).status == Status.SINGULAR
    many = jax.vmap(lambda where: fit.flag(where, Status.INVALID).status)
    assert many(jnp.array([True, False])).tolist() == [Status.INVALID, Status.SINGULAR]
