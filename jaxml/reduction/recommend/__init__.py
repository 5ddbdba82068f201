"""Recommender systems: what would this user say of that item? (slides 2.2).

    sizes = {"users": 943, "items": 1682}
    ratings = recommend.prepare(user, item, y, **sizes)
    start = recommend.biased.init(jax.random.key(0), k=10, **sizes)
    fit = jaxml.check(recommend.biased.fit(start, ratings, l2=10.0, l2_bias=3.0))
    scores = recommend.biased.scores(fit.params, [0])  # of the first user
    mine = item[user == 0]
    recommend.top_n(scores, (0 * mine, mine), count=10)

Ratings are triplets (user, item, y). `recommend.fit` is the course's model, by
alternating least squares or jointly by gradients; `recommend.content` its content-based
form with given features. `recommend.biased` adds what is strict of a user and loved of
an item, and trusts few ratings less than many; `recommend.variational` finds all
penalties itself and says how sure it is; `recommend.nonnegative` has parts only. Where
there are no ratings but choices, `recommend.implicit` and `recommend.bpr`.
`recommend.top_n` and `recommend.similar` make lists of any model's scores. How good
they are: `jaxml.ranking`.
"""

from jaxml.reduction.recommend import (
    biased,
    bpr,
    content,
    implicit,
    nonnegative,
    variational,
)
from jaxml.reduction.recommend._factors import (
    Params,
    cost,
    fit,
    fold_in,
    gradient,
    init,
    normalise,
    predict,
    scores,
)
from jaxml.reduction.recommend._layout import Ratings, prepare
from jaxml.reduction.recommend._lists import (
    Known,
    Similar,
    Top,
    is_known,
    known,
    similar,
    top_n,
)

__all__ = [
    "Known",
    "Params",
    "Ratings",
    "Similar",
    "Top",
    "biased",
    "bpr",
    "content",
    "cost",
    "fit",
    "fold_in",
    "gradient",
    "implicit",
    "init",
    "is_known",
    "known",
    "nonnegative",
    "normalise",
    "predict",
    "prepare",
    "scores",
    "similar",
    "top_n",
    "variational",
]
