"""Bayesian personalised ranking against its definition, and whether it ranks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import Status
from jaxml.reduction.recommend import _lists as lists
from jaxml.reduction.recommend import bpr
from tests.common.samples import Made

USER, ITEM = np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.array([0, 1, 1, 2, 2, 3, 3, 0])
SEEN = lists.known(USER, ITEM, users=4)
SAMPLES = {
    "params": Made(
        lambda seed: bpr.init(jax.random.key(seed), users=4, items=4, k=2, scale=0.5)
    ),
    "user": USER,
    "item": ITEM,
    "weights": np.linspace(0.5, 2, 8),
    "seen": SEEN,
    "batch": 4,
    "epochs": 3,
    "users": 4,
    "items": 4,
    "k": 2,
    "scale": 0.5,
    "scores.user": np.array([0, 2]),
}


def test_cost_by_hand(x64):
    """Averaged over keys it is the mean over unknown items, the known ones worth 0."""
    params = bpr.Params(
        *(np.random.default_rng(0).normal(size=s) for s in ((4,), (4, 2), (4, 2)))
    )
    b, theta, x = params
    weights, l2, terms = np.linspace(0.5, 2, 8), 0.3, []
    chosen = set(zip(USER.tolist(), ITEM.tolist(), strict=True))
    for u, i, w in zip(USER, ITEM, weights, strict=True):
        for j in range(4):
            margin = b[i] - b[j] + theta[u] @ (x[i] - x[j])
            v = np.concatenate([[b[i], b[j]], theta[u], x[i], x[j]])
            value = np.log1p(np.exp(-margin)) + l2 / 2 * (v**2).sum()
            terms.append(0 if (u, j) in chosen else w / weights.sum() * value / 4)
    keys = jax.random.split(jax.random.key(0), 4000)

    def one(key):
        return bpr.cost(params, key, USER, ITEM, seen=SEEN, l2=l2, weights=weights)

    draws = np.asarray(jax.jit(jax.vmap(one))(keys))
    assert abs(draws.mean() - sum(terms)) < 4 * draws.std() / 4000**0.5


def test_what_is_held_out_is_not_known():
    """The one user's other choice has weight 0: it is drawn, and falls behind."""
    start = bpr.init(jax.random.key(0), users=1, items=2, k=2)
    options = {"l2": 0.0, "learning_rate": 0.1, "batch": 1, "epochs": 10}
    fit = bpr.fit(start, jax.random.key(1), [0], [0], **options)
    assert fit.params.b_item[0] > fit.params.b_item[1]
    both = bpr.fit(
        start,
        jax.random.key(1),
        [0, 0],
        [0, 1],
        **{**options, "batch": 2},
        weights=[1.0, 0.0],
    )
    assert both.params.b_item[0] > both.params.b_item[1]


def test_a_solver_that_is_made_with_its_rate():
    start = bpr.init(jax.random.key(0), users=4, items=4, k=2)
    run = functools.partial(
        bpr.fit, start, jax.random.key(1), USER, ITEM, l2=0.1, batch=4, epochs=2
    )
    made, named = run(solver=optax.adam(0.1)), run(learning_rate=0.1)
    np.testing.assert_allclose(made.params.theta, named.params.theta, rtol=1e-6)
    with pytest.raises(ValueError, match="^learning_rate must be given: adam has no"):
        run()
    with pytest.raises(ValueError, match="^learning_rate must be None"):
        run(solver=optax.adam(0.1), learning_rate=0.1)


@pytest.mark.long
def test_choices_are_ranked_first():
    """Two camps of users who choose within their own half of the items."""
    rng = np.random.default_rng(1)
    users, items = 40, 30
    user, item = np.nonzero(
        (np.arange(users)[:, None] % 2 == np.arange(items) % 2)
        & (rng.uniform(size=(users, items)) < 0.6)
    )
    start = bpr.init(jax.random.key(0), users=users, items=items, k=4)
    options = {"l2": 1e-3, "learning_rate": 0.05, "batch": 60, "epochs": 60}
    fit = bpr.fit(start, jax.random.key(1), user, item, **options)
    assert fit.status == Status.FINISHED
    cost = np.asarray(fit.history["cost"])
    assert cost[-1] < 0.6 * cost[0]
    # What a user has not chosen of their own half stands above all of the other half.
    everyone = np.arange(users)
    scores = bpr.scores(fit.params, everyone)
    top = np.asarray(lists.top_n(scores, (user, item), count=3).item)
    assert (top % 2 == everyone[:, None] % 2).mean() > 0.95
    # A weight of 0 leaves a choice out: nobody learns of item 0.
    out = bpr.fit(
        start,
        jax.random.key(1),
        user,
        item,
        **options,
        weights=(item != 0) * 1.0,
    )
    assert out.params.b_item[0] < jnp.sort(out.params.b_item)[3]
