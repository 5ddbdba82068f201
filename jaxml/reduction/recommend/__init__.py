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
there are no ratings but choices, `recommend.feedback` and `recommend.pairwise`.
`recommend.lists` makes lists of any model's scores. How good they are: `jaxml.ranking`.
"""

from jaxml.reduction.recommend import biased as biased
from jaxml.reduction.recommend import content as content
from jaxml.reduction.recommend import feedback as feedback
from jaxml.reduction.recommend import lists as lists
from jaxml.reduction.recommend import nonnegative as nonnegative
from jaxml.reduction.recommend import pairwise as pairwise
from jaxml.reduction.recommend import variational as variational
from jaxml.reduction.recommend._layout import Ratings as Ratings
from jaxml.reduction.recommend._layout import prepare as prepare
from jaxml.reduction.recommend.factors import Params as Params
from jaxml.reduction.recommend.factors import cost as cost
from jaxml.reduction.recommend.factors import fit as fit
from jaxml.reduction.recommend.factors import fold_in as fold_in
from jaxml.reduction.recommend.factors import gradient as gradient
from jaxml.reduction.recommend.factors import init as init
from jaxml.reduction.recommend.factors import normalise as normalise
from jaxml.reduction.recommend.factors import predict as predict
from jaxml.reduction.recommend.factors import scores as scores
from jaxml.reduction.recommend.lists import similar as similar
from jaxml.reduction.recommend.lists import top_n as top_n
