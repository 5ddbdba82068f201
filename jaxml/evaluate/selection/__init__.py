"""Choose models by rows held out: folds are weights, so that all fits share a shape.

What is learned from the data, scales and features included, belongs inside the fit:

    def fit(x, y, *, weights, l2):
        scale = scaling.standardise(x, weights=weights)  # of the training rows alone
        found = ridge.fit(scaling.transform(scale, x), y, weights=weights, l2=l2)
        return found._replace(params=(scale, found.params))

    def score(params, x, y, *, weights):
        scale, ridge_params = params
        predicted = ridge.predict(ridge_params, scaling.transform(scale, x))
        return metrics.r2(y, predicted, weights=weights)

    folds = selection.k_fold(jax.random.key(0), m=len(y), folds=5)
    points = selection.grid(l2=jnp.geomspace(1, 1e-4, 20))
    scores = selection.cross_validate(fit, score, x, y, folds=folds, grid=points)
    chosen = {name: values[scores.best] for name, values in points.items()}

Both are functions of a module, or functools.partials of such, never fresh
lambdas: they are compiled in. Weights, labels and values of the grid are traced.
"""

from jaxml.evaluate.selection.folds import Folds as Folds
from jaxml.evaluate.selection.folds import grouped as grouped
from jaxml.evaluate.selection.folds import k_fold as k_fold
from jaxml.evaluate.selection.folds import leave_one_out as leave_one_out
from jaxml.evaluate.selection.folds import stratified as stratified
from jaxml.evaluate.selection.folds import time_ordered as time_ordered
from jaxml.evaluate.selection.scores import Curve as Curve
from jaxml.evaluate.selection.scores import Nested as Nested
from jaxml.evaluate.selection.scores import Scores as Scores
from jaxml.evaluate.selection.scores import cross_validate as cross_validate
from jaxml.evaluate.selection.scores import learning_curve as learning_curve
from jaxml.evaluate.selection.scores import nested as nested
from jaxml.evaluate.selection.scores import out_of_fold as out_of_fold
from jaxml.evaluate.selection.scores import validation_curve as validation_curve
from jaxml.evaluate.selection.search import descend as descend
from jaxml.evaluate.selection.search import grid as grid
from jaxml.evaluate.selection.search import random_search as random_search
