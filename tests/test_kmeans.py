"""k-means against scikit-learn, brute force and what it promises."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans, kmeans_plusplus

import jaxml
from jaxml import train
from jaxml.optimize._fit import Status
from jaxml.reduction import _assign, kmeans
from tests.common.samples import Made


def _centres(seed):
    return kmeans.Params(np.random.default_rng(seed).normal(size=(3, 3)))


SAMPLES = {"params": Made(_centres), "k": 3, "count": 2, "max_iter": 20}
ROUGH = {
    "elbow": "the best of partitions; derivatives are cut off",
    "gap": "the best of partitions; derivatives are cut off",
}
RANDOM = np.random.default_rng(0)
K, N = 4, 3
CENTRES = 8 * np.eye(K, N)
TRUE = RANDOM.permutation(np.arange(200) % K)
X = (CENTRES[TRUE] + RANDOM.normal(size=(200, N))).astype(np.float32)
KEY = jax.random.key(0)


def _params(rows):
    return kmeans.Params(np.asarray(rows))


def test_is_scikit_learns_lloyd():
    for k in (3, 40):  # two layouts
        start = X[:k]
        fit = jaxml.check(kmeans.fit(_params(start), X, tol=0.0))
        peer = KMeans(k, init=start, n_init=1, tol=0, algorithm="lloyd").fit(X)
        np.testing.assert_allclose(fit.cost * len(X), peer.inertia_, rtol=1e-5)
        np.testing.assert_allclose(fit.params.centres, peer.cluster_centers_, atol=1e-4)
        np.testing.assert_array_equal(kmeans.predict(fit.params, X), peer.labels_)
        assert fit.steps == peer.n_iter_


def test_blocks_of_rows():
    """More rows than a block, a rest, and both layouts: the sums are those of NumPy."""
    x = np.random.default_rng(1).normal(size=(4567, 2)).astype(np.float32)
    for k in (5, 33):
        params = _params(x[:k])
        square = ((x[:, None].astype(float) - x[None, :k]) ** 2).sum(2)
        labels = square.argmin(1)
        np.testing.assert_array_equal(kmeans.predict(params, x), labels)
        np.testing.assert_allclose(
            kmeans.cost(params, x), square.min(1).mean(), rtol=1e-5
        )
        means = [x[labels == c].mean(0, dtype=float) for c in range(k)]
        np.testing.assert_allclose(
            kmeans.step(params, x).centres, means, rtol=1e-4, atol=1e-5
        )
        distances = np.sqrt(square[:, :3])
        np.testing.assert_allclose(
            kmeans.transform(params, x)[:, :3], distances, atol=2e-3
        )


@pytest.mark.parametrize("k", [5, 33])
def test_rows_that_are_passed_over_are_where_they_belong(k, x64):
    """A fit, which looks at few rows, is the repeated step, which looks at all."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6100, 2)) + 3 * rng.integers(0, 3, (6100, 1))
    weights = rng.integers(0, 3, len(x)).astype(float)
    start = np.concatenate([x[: k - 1], [[1e3, 1e3]]])  # the last is empty
    params, costs = _params(start), []
    fit = kmeans.fit(params, x, weights=weights, tol=0.0, max_iter=30)
    for _ in range(31):
        params = kmeans.step(params, x, weights=weights)
        costs.append(float(kmeans.cost(params, x, weights=weights)))
    # Where the farthest row is asked for, a fit takes a step to look at all of them.
    history = np.asarray(fit.history)
    history = history[np.diff(history, append=0) != 0]
    np.testing.assert_allclose(history[1:], costs[: len(history) - 1], rtol=1e-12)


def test_bounds_hold_in_spite_of_rounding():
    """In float32, far out, where expanded squares are off; distances are of float64."""
    rng = np.random.default_rng(7)
    x = jnp.asarray(rng.normal(size=(5000, 30)) * 1e-2 + rng.normal(size=30), "f4")
    for active in (None, jnp.arange(6) < 5):
        rows = _assign.rows_about_centres(jnp.zeros((1, 30)), x, None)
        centres = x[:6]
        found = _assign.unknown(x, centres)
        for _ in range(4):
            found = _assign.assign(found, rows, centres, active)
            exact = np.linalg.norm(
                np.asarray(x, float)[:, None] - np.asarray(centres, float), axis=2
            )
            exact = exact if active is None else exact[:, :5]
            label = np.asarray(found.label)[:, None]
            own = np.take_along_axis(exact, label, 1)[:, 0]
            np.put_along_axis(exact, label, np.inf, 1)
            assert np.all(found.upper >= own)
            assert np.all(found.lower <= exact.min(1))
            centres, found, _ = _assign.moved(found, rows, centres)


def test_finds_the_best_partition_of_a_few_rows(x64):
    """Against all partitions, as restarts under one vmap."""
    x = np.random.default_rng(2).normal(size=(8, 2))
    partitions = itertools.product(range(3), repeat=8)

    def inertia(labels):
        labels = np.array(labels)
        parts = [x[labels == c] for c in range(3)]
        return sum(((p - p.mean(0)) ** 2).sum() for p in parts if len(p)) / 8

    least = min(map(inertia, partitions))
    keys = jax.random.split(KEY, 30)
    fits = jax.vmap(lambda key: kmeans.fit(kmeans.init(key, x, k=3), x))(keys)
    np.testing.assert_allclose(jaxml.best(fits).cost, least, rtol=1e-12)


def test_cost_never_rises(x64):
    params, costs = _params(X[:7]), []
    for _ in range(12):
        costs.append(float(kmeans.cost(params, X)))
        params = kmeans.step(params, X)
    assert np.all(np.diff(costs) <= 1e-12)
    assert costs[-1] < costs[0]


def test_integer_weights_are_repeated_rows(x64):
    weights = np.random.default_rng(3).integers(0, 4, len(X))
    start = _params(X[:3])
    x = X.astype(float)
    one = kmeans.fit(start, x, weights=weights)
    two = kmeans.fit(start, np.repeat(x, weights, axis=0))
    np.testing.assert_allclose(one.params.centres, two.params.centres, atol=1e-10)
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_far_from_the_origin_in_float32(shift):
    """Expanded squares of such numbers have no digits: 0 wrong labels here."""
    x = (X[:, :2] * 2 + shift).astype(np.float32)
    exact = x.astype(float)
    start = exact[:K]
    fit = kmeans.fit(_params(start), x, tol=0.0)
    peer = KMeans(K, init=start, n_init=1, tol=0).fit(exact)
    labels = np.asarray(kmeans.predict(fit.params, x))
    assert np.sum(labels != peer.labels_) == 0


def test_an_empty_cluster_takes_the_farthest_row():
    """Two centres that nothing is near are moved, one after the other."""
    start = np.array([[0.0, 0.0], [1e3, 1e3], [2e3, 2e3]], np.float32)
    x = np.concatenate(
        [np.random.default_rng(4).normal(size=(30, 2)), [[50.0, 0.0], [0.0, 30.0]]]
    )
    moved = kmeans.step(_params(start), x).centres
    np.testing.assert_allclose(moved[1], [50, 0])
    np.testing.assert_allclose(moved[2], start[2])
    fit = jaxml.check(kmeans.fit(_params(start), x))
    labels = kmeans.predict(fit.params, x)
    assert set(np.asarray(labels)) == {0, 1, 2}
    assert sorted(np.bincount(labels)) == [1, 1, 30]


def test_the_farthest_row_is_asked_for_before_it_is_taken():
    """A cluster that loses its rows while others are passed over waits for a pass."""
    rows = _assign.rows_about_mean(jnp.asarray(X), None)
    centres = rows.x[:2] / rows.unit
    found = _assign.assign(_assign.unknown(rows.x, centres), rows, centres)
    sums = found.sums._replace(members=jnp.array([len(X), 0]))
    found = found._replace(sums=sums, fresh=jnp.array(False))
    new, found, again = _assign.moved(found, rows, centres)
    np.testing.assert_array_equal(new[1], centres[1])
    assert again
    assert np.isinf(found.upper).all()
    found = _assign.assign(found, rows, new)._replace(sums=sums)
    scaled = np.asarray(rows.x / rows.unit)
    distance = np.linalg.norm(scaled[:, None] - np.asarray(new), axis=2).min(1)
    new, _, again = _assign.moved(found, rows, new)
    np.testing.assert_array_equal(new[1], scaled[distance.argmax()])
    assert again


def test_a_cluster_that_shrinks_keeps_no_rounding():
    """Sums that rows have left are rounded; the end sums anew, and rows are counted."""
    x = np.random.default_rng(6).normal(size=(6000, 2))
    x = jnp.asarray(np.concatenate([x, [[9.0, 9.0], [9.2, 9.0]]]), jnp.float32)
    weights = jnp.append(jnp.full(6000, 0.1), jnp.full(2, 1e-3))
    rows = _assign.rows_about_centres(jnp.zeros((1, 2)), x, weights)
    found = _assign.unknown(x, jnp.zeros((2, 2)))
    for far, near in (([0.0, 0.0], [50.0, 50.0]), ([9.0, 9.0], [0.0, 0.0])):
        centres = jnp.array([far, near])
        found = found._replace(upper=jnp.full_like(found.upper, jnp.inf))
        found = _assign.assign(found, rows, centres)
    np.testing.assert_array_equal(found.sums.members, [2, 6000])
    exact = _assign.summed_again(found, rows, centres)
    np.testing.assert_allclose(exact[0], [9.1, 9.0], rtol=1e-6)
    rounded = found.sums.x / found.sums.weight[:, None]
    assert abs(rounded[0] - exact[0]).max() > 1e-4  # else this tests nothing
    centres = jnp.array([[50.0, 50.0], [0.0, 0.0]])
    found = found._replace(upper=jnp.full_like(found.upper, jnp.inf))
    found = _assign.assign(found, rows, centres)
    assert found.sums.weight[0] != 0
    new, _, _ = _assign.moved(found, rows, centres)
    np.testing.assert_array_equal(new[0], x[6001])  # the farthest, for it is empty


def test_a_row_that_is_left_out_becomes_no_centre():
    start = np.array([[0.0, 0.0], [1e3, 1e3]], np.float32)
    x = np.array([[0.1, 0.0], [-0.1, 0.0], [50.0, 0.0], [0.0, 30.0]])
    moved = kmeans.step(_params(start), x, weights=np.array([1, 1, 0, 1])).centres
    np.testing.assert_allclose(moved[1], [0, 30])


def test_fewer_rows_that_differ_than_clusters():
    x = np.repeat(X[:3], 10, axis=0)
    fit = jaxml.check(kmeans.fit(kmeans.init(KEY, x, k=3), x))
    assert fit.cost < 1e-9
    fit = kmeans.fit(kmeans.init(KEY, x, k=4), x)
    assert fit.status == Status.SINGULAR
    assert fit.cost < 1e-9
    same = np.ones((5, 2))
    assert kmeans.fit(_params(same[:1]), same).status == Status.CONVERGED


def test_bad_arguments():
    with pytest.raises(ValueError, match="^params has k = 3 centres, more than"):
        kmeans.fit(_params(X[:3]), X[:2])
    with pytest.raises(ValueError, match=r"^params.centres has shape \(3, 3\)"):
        kmeans.predict(_params(X[:3]), X[:, :2])
    with pytest.raises(ValueError, match="^k must be at most m = 2, not 3"):
        kmeans.init(KEY, X[:2], k=3)
    with pytest.raises(ValueError, match="^method must be one of '\\+\\+'"):
        kmeans.init(KEY, X, k=3, method="forgy")


# --- where to start ------------------------------------------------------------------


@pytest.mark.parametrize("method", kmeans.METHODS)
def test_starts_are_rows_that_count(method):
    weights = np.where(np.arange(len(X)) < 100, 0.0, 1.0)
    keys = jax.random.split(KEY, 20)
    found = jax.vmap(
        lambda key: kmeans.init(key, X, k=K, method=method, weights=weights)
    )(keys)
    rows = {tuple(row) for row in X[100:]}
    for centres in np.asarray(found.centres):
        chosen = {tuple(row) for row in centres}
        assert chosen <= rows
        assert len(chosen) == K


def test_starts_do_not_depend_on_the_origin():
    """Rows that are sums of powers of 2, so that moving them rounds nothing."""
    x = (np.random.default_rng(8).integers(-64, 64, size=(300, 3)) / 64).astype("f4")
    for k in (8, 40):  # with and without a centred copy
        for seed in range(5):
            key = jax.random.key(seed)
            near, far = (kmeans.init(key, x + s, k=k).centres for s in (0, 2.0**15))
            np.testing.assert_array_equal(near, far - 2.0**15)


@pytest.mark.long
def test_good_starts_are_near_the_best():
    """Mean cost of 20 starts: as scikit-learn's greedy k-means++, and below random."""
    keys = jax.random.split(KEY, 20)

    def start(method):
        def one(key):
            return kmeans.cost(kmeans.init(key, X, k=K, method=method), X)

        return np.asarray(jax.vmap(one)(keys))

    peer = [
        kmeans.cost(_params(kmeans_plusplus(X, K, random_state=s)[0]), X)
        for s in range(20)
    ]
    greedy = start("++")
    assert greedy.mean() < 1.15 * np.mean(peer)
    assert start("parallel").mean() < 1.15 * np.mean(peer)
    assert start("random").mean() > 1.5 * greedy.mean()


def test_draws_follow_the_odds():
    odds = np.array([0.0, 3.0, 0.0, 1.0, 0.0], np.float32)
    drawn = np.asarray(kmeans._draw(KEY, jnp.asarray(odds), 4000, odds))
    counts = np.bincount(drawn, minlength=5)
    assert counts[[0, 2, 4]].sum() == 0
    # Four standard deviations of a binomial.
    assert abs(counts[1] - 3000) < 4 * np.sqrt(4000 * 3 / 16)


def test_same_key_same_bits():
    def run():
        fit = kmeans.fit(kmeans.init(KEY, X, k=40), X)
        return b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(fit))

    assert len({run() for _ in range(10)}) == 1


# --- mini-batches --------------------------------------------------------------------


def test_mini_batch_is_a_running_mean(x64):
    """A step of one batch from counts 0 is Lloyd's; the next weighs what was seen."""
    start = _params(X[:3].astype(float))
    update = jax.tree_util.Partial(kmeans.mini_batch)
    state = train.start(update, start, KEY, extra=jnp.zeros(3))
    state, metrics = train.epoch(update, state, X, batch=len(X))
    np.testing.assert_allclose(state.params.centres, kmeans.step(start, X).centres)
    np.testing.assert_allclose(metrics["cost"], kmeans.cost(start, X))
    counts = np.bincount(kmeans.predict(start, X), minlength=3)
    np.testing.assert_array_equal(state.extra, counts)
    before = state.params
    state, _ = train.epoch(update, state, X, batch=len(X))
    new = np.bincount(kmeans.predict(before, X), minlength=3)
    share = (new / (counts + new))[:, None]
    wanted = before.centres + share * (kmeans.step(before, X).centres - before.centres)
    np.testing.assert_allclose(state.params.centres, wanted)


def test_mini_batches_come_near_the_full_fit():
    start = kmeans.init(KEY, X, k=K)
    update = jax.tree_util.Partial(kmeans.mini_batch)
    state = train.start(update, start, KEY, extra=jnp.zeros(K))
    fit = train.fit(update, state, X, batch=32, epochs=10)
    full = kmeans.fit(start, X)
    assert kmeans.cost(fit.params, X) < 1.05 * full.cost


# --- how many ------------------------------------------------------------------------


def test_elbow_is_made_of_fits():
    found = np.asarray(kmeans.elbow(KEY, X, k=6))
    start = kmeans.init(KEY, X, k=6).centres
    for count in (1, 4, 6):
        fit = kmeans.fit(_params(start[:count]), X)
        np.testing.assert_allclose(found[count - 1], fit.cost, rtol=1e-4)
    np.testing.assert_allclose(found[0], X.var(0).sum(), rtol=1e-5)
    assert np.all(np.diff(found) < 0)
    assert found[2] / found[3] > 2  # the elbow is at 4
    assert found[3] / found[4] < 1.3


def test_gap_tells_the_number():
    assert kmeans.gap(KEY, X, k=6, count=5).k == K
    # For one cluster ⟨J*⟩ = Σ range²/12, and σ(log J*) = √(0.8/(m n)) of a reference.
    error = 4 * np.sqrt(0.8 / (200 * N) / 5)
    for seed in range(5, 9):
        x = np.random.default_rng(seed).uniform(size=(200, N))
        found = kmeans.gap(KEY, x, k=6, count=5)
        assert found.k == 1
        box = np.log(np.sum(np.ptp(x, axis=0) ** 2) / 12)
        np.testing.assert_allclose(
            found.gap[0], box - np.log(x.var(0).sum()), atol=error
        )


def test_sixteen_colours_of_a_picture():
    """The course's example: a picture told by k colours and a label for each pixel."""
    i, j = np.mgrid[:40, :40] / 40
    picture = np.stack([i, j, (i + j) % 1], axis=2).reshape(-1, 3).astype(np.float32)
    fit = jaxml.check(kmeans.fit(kmeans.init(KEY, picture, k=16), picture))
    told = np.asarray(fit.params.centres)[
        np.asarray(kmeans.predict(fit.params, picture))
    ]
    assert len(np.unique(told, axis=0)) == 16
    error = ((told - picture) ** 2).sum(1).mean()
    np.testing.assert_allclose(error, fit.cost, rtol=1e-4)
    assert error < 0.1 * picture.var(0).sum()


def test_one_trace_for_all_values():
    start = _params(X[:5])
    kmeans.fit(start, X, weights=np.ones(len(X)))
    before = kmeans.fit.traces
    for i in range(5):
        kmeans.fit(_params(X[i : i + 5]), X + i, weights=np.ones(len(X)) + i, tol=i)
    assert kmeans.fit.traces == before


# --- rows of any size, wherever they lie ----------------------------------------------

WIDE_X = np.tile(X, (1, 4))  # of more columns than differences are always taken of


def test_a_centre_far_away_takes_no_digits_from_the_others():
    params = _params(np.float32([[0], [1], [9999]]))
    x = np.float32([[0], [1], [0.25]])
    np.testing.assert_array_equal(kmeans.predict(params, x), [0, 1, 0])
    wanted = np.abs(x - np.float32([[0, 1, 9999]]))
    np.testing.assert_array_equal(kmeans.transform(params, x), wanted)
    np.testing.assert_allclose(kmeans.cost(params, x), 0.0625 / 3, rtol=1e-6)


@pytest.mark.parametrize("rows", [X, WIDE_X], ids=["narrow", "wide"])
def test_an_outlier_does_not_spoil_the_rest(rows):
    """With a centre of its own it changes nothing; with weight 0 it is not there."""
    x = np.concatenate([rows, np.full((1, rows.shape[1]), 1e15, np.float32)])
    alone = kmeans.fit(_params(rows[:K]), rows)
    fit = jaxml.check(kmeans.fit(_params(x[[0, 1, 2, 3, -1]]), x))
    np.testing.assert_allclose(fit.params.centres[:K], alone.params.centres, rtol=1e-5)
    np.testing.assert_allclose(fit.cost * len(x), alone.cost * len(rows), rtol=1e-5)
    counts = np.append(np.ones(len(rows)), 0)
    fit = jaxml.check(kmeans.fit(_params(rows[:K]), x, weights=counts))
    np.testing.assert_allclose(fit.params.centres, alone.params.centres, rtol=1e-5)
    np.testing.assert_allclose(fit.cost, alone.cost, rtol=1e-5)


@pytest.mark.parametrize("unit", [2.0**-66, 2.0**-20, 2.0**50])
def test_units_mean_nothing(unit):
    for rows in (X, WIDE_X):
        small = rows * np.float32(unit)
        one, two = (kmeans.init(KEY, x, k=K).centres for x in (rows, small))
        np.testing.assert_array_equal(one * np.float32(unit), two)
        one, two = (kmeans.fit(_params(x[:K]), x) for x in (rows, small))
        np.testing.assert_array_equal(
            one.params.centres * np.float32(unit), two.params.centres
        )
        assert two.status == Status.CONVERGED
        assert one.steps == two.steps


def test_starts_tell_clusters_apart_behind_an_outlier():
    """The outlier, then a row of each of four clusters, whatever the key."""
    centres = np.repeat(100 * np.eye(4, 12), 10, axis=0)
    noise = np.random.default_rng(3).normal(size=(40, 12)) / 100
    x = np.concatenate([centres + noise, np.full((1, 12), 1e12)]).astype(np.float32)
    keys = jax.random.split(KEY, 10)
    found = jax.vmap(lambda key: kmeans.init(key, x, k=5).centres)(keys)
    for chosen in np.asarray(found):
        nearest = np.abs(chosen[:, None] - x[[0, 10, 20, 30, 40]][None]).sum(2)
        assert set(nearest.argmin(1)) == set(range(5))


@pytest.mark.parametrize("method", kmeans.METHODS)
def test_a_row_of_weight_0_is_not_chosen_for_want_of_others(method):
    x = np.float32([[100], [1], [1]])
    choose = jax.vmap(
        lambda key: kmeans.init(key, x, k=2, weights=np.array([0, 1, 1]), method=method)
    )
    found = choose(jax.random.split(KEY, 20))
    np.testing.assert_array_equal(found.centres, 1)


def test_a_batch_without_weight_changes_nothing():
    state = train.start(
        jax.tree_util.Partial(kmeans.mini_batch),
        _params(X[:3]),
        KEY,
        extra=jnp.ones(3),
    )
    batch = train.Batch(jnp.asarray(X), jnp.zeros(len(X)))
    new, metrics = kmeans.mini_batch(state, KEY, batch)
    np.testing.assert_array_equal(new.params.centres, X[:3])
    np.testing.assert_array_equal(new.extra, 1)
    assert metrics["cost"] == 0
