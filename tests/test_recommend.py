"""Recommender systems as a whole: layout, MovieLens, one answer everywhere."""

import hashlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import check, ranking, recommend
from jaxml.data import datasets
from jaxml.evaluate import metrics
from jaxml.reduction.recommend import _layout
from tests import ratings as data
from tests.ratings import ITEMS, MANY, USERS
from tests.test_datasets import has

# --- the layout -----------------------------------------------------------------------


@pytest.mark.parametrize("places", [16, 64, 4096])
def test_every_rating_has_its_place(places, monkeypatch):
    """Once, in a segment of its user, who stands in one block; so for items."""
    monkeypatch.setattr(_layout, "PLACES", places)
    monkeypatch.setattr(_layout, "WIDTHS", (4, 8))
    ratings = recommend.prepare(*MANY, users=USERS, items=ITEMS)
    m = len(MANY.y)
    for side, rows, columns, n in (
        (ratings.by_user, MANY.user, MANY.item, USERS),
        (ratings.by_item, MANY.item, MANY.user, ITEMS),
    ):
        where, row, owner, column, rating = map(np.asarray, side)
        assert len(np.unique(where)) == n
        assert (row.ravel()[where] == np.arange(n)).all()
        block, segment, _ = place = np.nonzero(rating < m)
        assert np.sort(rating[place]).tolist() == list(range(m))
        assert (row[block, owner[block, segment]] == rows[rating[place]]).all()
        assert (column[place] == columns[rating[place]]).all()


def test_sums(monkeypatch):
    """Against a dense product; a row without ratings has 0."""
    ratings = data.many(monkeypatch)
    table = np.random.default_rng(0).normal(size=(ITEMS, 5))
    side = ratings.by_user
    y = _layout.spread(side, ratings.y)
    found = _layout.sums(side, jnp.asarray(table), y, y**2)
    for j, power in enumerate((1, 2)):
        wanted = MANY.dense(MANY.y**power) @ table
        np.testing.assert_allclose(found[:, j], wanted, rtol=1e-4, atol=1e-4)


def test_what_prepare_refuses():
    good = {"user": [0, 1], "item": [1, 0], "y": [1.0, 2.0], "users": 2, "items": 2}
    for name, wrong, message in (
        ("user", [0, 2], "user holds the label 2"),
        ("item", [-1, 0], "item holds the label -1"),
        ("item", [0.5, 0], "item must hold integer labels"),
        ("item", [0], r"item has shape \(1,\), not \(m,\) where m = 2"),
        ("y", [np.nan, 1], "y holds 1 non-finite value"),
        ("users", 0, "users must be at least 1"),
        ("user", [0, 2**32], "user holds the label 4294967296"),
    ):
        with pytest.raises(ValueError, match=message):
            recommend.prepare(**{**good, name: wrong})


# --- one answer -----------------------------------------------------------------------


@pytest.mark.long
def test_same_key_same_bits(monkeypatch):
    """Ten runs of each algorithm give one hash."""
    ratings = data.many(monkeypatch)
    key = jax.random.key(0)
    sizes = {"users": USERS, "items": ITEMS, "k": 2}
    plain, positive = recommend.init(key, **sizes), recommend.nonnegative.init
    who, what = ratings.user, ratings.item
    choices = {"l2": 0.1, "learning_rate": 0.1, "batch": 50, "epochs": 2}
    runs = (
        lambda: recommend.fit(plain, ratings, l2=1.0, max_iter=3),
        lambda: recommend.implicit.fit(plain, ratings, l2=1.0, max_iter=3),
        lambda: recommend.nonnegative.fit(positive(key, **sizes), ratings, max_iter=3),
        lambda: recommend.variational.fit(
            recommend.variational.init(key, **sizes), ratings, max_iter=3
        ),
        lambda: recommend.bpr.fit(
            recommend.bpr.init(key, **sizes), key, who, what, **choices
        ),
    )
    for run in runs:
        hashes = set()
        for _ in range(10):
            leaves = jax.tree.leaves(run().params)
            content = b"".join(np.asarray(leaf).tobytes() for leaf in leaves)
            hashes.add(hashlib.sha256(content).hexdigest())
        assert len(hashes) == 1


PROGRAM = """
import jax
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxml import recommend

mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
split = NamedSharding(mesh, PartitionSpec("rows"))
rng = np.random.default_rng(0)
user, item = np.nonzero(rng.uniform(size=(32, 16)) < 0.4)
y = rng.integers(1, 6, len(user))
ratings = recommend.prepare(user, item, y, users=32, items=16)
start = recommend.init(jax.random.key(0), users=32, items=16, k=3)
laid = jax.device_put(start, split)
for model, solver in ((recommend, "cholesky"), (recommend.implicit, "cg")):
    options = {"l2": 1.0, "solver": solver, "max_iter": 5, "tol": 0}
    alone = model.fit(start, ratings, **options)
    shared = model.fit(laid, ratings, **options)
    for a, b in zip(alone.params, shared.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
found = recommend.gradient(laid, user, item, y, l2=1.0)
assert all(a.sharding.is_equivalent_to(split, 2) for a in laid)
for a, b in zip(found, recommend.gradient(start, user, item, y, l2=1.0), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
print("the same")
"""


@pytest.mark.long
def test_factors_over_eight_devices():
    """Rows of Θ and X laid over a mesh give the answer of one device."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "the same\n"


# --- MovieLens ------------------------------------------------------------------------


@pytest.mark.long
@has("ml-100k")
def test_the_published_folds():
    """Penalties and noise from the training part alone: RMSE below 0.915 (0.908)."""
    films = datasets.movielens_100k()
    users, items = 943, 1682
    ratings = recommend.prepare(
        films.user, films.item, films.rating, users=users, items=items
    )
    start = recommend.variational.init(jax.random.key(0), users=users, items=items, k=5)
    errors = []
    for test in films.test:
        fit = recommend.variational.fit(
            start, ratings, weights=~test * 1.0, max_iter=15
        )
        found = recommend.variational.predict(
            fit.params, films.user[test], films.item[test]
        )
        errors.append(metrics.rmse(films.rating[test], jnp.clip(found, 1, 5)))
    print(f"RMSE {np.round(errors, 4)}, mean {np.mean(errors):.4f}")
    assert np.mean(errors) <= 0.915
    # Films that the last fold knows nothing of are predicted by the user alone.
    unseen = np.setdiff1d(films.item, films.item[~films.test[-1]])
    p = recommend.variational.mean(fit.params)
    found = recommend.variational.predict(fit.params, np.full(len(unseen), 3), unseen)
    assert len(unseen) > 10
    np.testing.assert_allclose(found, p.mu + p.b_user[3], rtol=1e-5)


@pytest.mark.long
@has("ml-100k")
def test_lists_of_films():
    """Choices rank above popularity; nothing that was seen is shown."""
    films = datasets.movielens_100k()
    split = ranking.latest(films.user, films.time.astype(float), count=5)
    train, test = np.asarray(split.train), np.asarray(split.test)
    user, item = films.user[train], films.item[train]
    ratings = recommend.prepare(
        films.user, films.item, np.ones(len(train)), users=943, items=1682
    )
    start = recommend.init(jax.random.key(0), users=943, items=1682, k=16)
    fit = recommend.implicit.fit(
        start, ratings, l2=5.0, alpha=5.0, weights=train * 1.0, max_iter=10
    )
    everyone = np.arange(943)
    relevance = np.zeros((943, 1682))
    relevance[films.user[test], films.item[test]] = 1
    popular = np.tile(np.bincount(item, minlength=1682) * 1.0, (943, 1))
    scored = []
    for scores in (recommend.scores(fit.params, everyone), popular):
        top = recommend.top_n(scores, (user, item), count=10)
        known = np.zeros((943, 1683), bool)
        known[user, item] = True
        assert not known[everyone[:, None], np.asarray(top.item)].any()
        scored.append(float(ranking.ndcg(relevance, top.item)))
    print(f"NDCG at 10: factors {scored[0]:.4f}, popularity {scored[1]:.4f}")
    assert scored[0] > 1.3 * scored[1]


@has("ml-100k")
def test_the_quick_start():
    """The defaults end at the minimum, and no film with few ratings leads the lists."""
    films = datasets.movielens_100k()
    sizes = {"users": 943, "items": 1682}
    ratings = recommend.prepare(films.user, films.item, films.rating, **sizes)
    start = recommend.biased.init(jax.random.key(0), k=10, **sizes)
    weights = ~films.test[0] * 1.0
    fit = check(
        recommend.biased.fit(start, ratings, l2=10.0, l2_bias=3.0, weights=weights)
    )
    often = np.bincount(films.item, weights, minlength=1682)
    everyone = np.arange(943)
    scores = recommend.biased.scores(fit.params, everyone)
    train = weights > 0
    seen = films.user[train], films.item[train]
    best = np.asarray(recommend.top_n(scores, seen, count=5).item)
    assert (often[best] >= 10).mean() > 0.9
    y = recommend.normalise(films.item, films.rating, items=1682, weights=weights).y
    start = recommend.init(jax.random.key(0), k=10, **sizes)
    check(recommend.fit(start, ratings._replace(y=y), l2=10.0, weights=weights))


@has("ml-100k")
def test_films():
    """The numbers of the README, and the folds: disjoint and together everything."""
    films = datasets.movielens_100k()
    assert np.bincount(films.user).shape == (943,)
    assert np.bincount(films.item).shape == (1682,)
    assert np.bincount(films.user).min() >= 20
    assert films.titles[0] == "Toy Story (1995)"
    assert (films.test.sum(0) == 1).all()
    assert (films.test.sum(1) == 20_000).all()
    assert sorted(set(films.rating.tolist())) == [1, 2, 3, 4, 5]
    assert films.genres[0].nonzero()[0].tolist() == [3, 4, 5]
