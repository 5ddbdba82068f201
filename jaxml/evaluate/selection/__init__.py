"""Choose models by rows held out: folds are weights, so that all fits share a shape.

What is learned from the data, scales and features included, belongs inside the fit:

    def fit(x, y, *, weights, l2):
        scale = scaling.standardise(x, weights=weights)  # of the training rows alone
        fit = ridge.fit(scaling.transform(scale, x), y, weights=weights, l2=l2)
        return fit._replace(params=(scale, fit.params))

    def score(params, x, y, *, weights):
        scale, ridge_params = params
        predicted = ridge.predict(ridge_params, scaling.transform(scale, x))
        return metrics.r2(y, predicted, weights=weights)

    folds = selection.k_fold(jax.random.key(0), m=len(y), folds=5)
    points = selection.grid(l2=jnp.geomspace(1, 1e-4, 20))
    scores = selection.cross_validate(fit, score, x, y, folds=folds, grid=points)
    chosen = {name: values[scores.best] for name, values in points.items()}

A score that needs no more than predictions is `selection.scorer(ridge.predict,
metrics.r2)`. Fit and score are functions of a module, or functools.partials of such,
never fresh lambdas: they are compiled in. Weights, labels and values of the grid are
traced.
"""

from jaxml.evaluate.selection._folds import (
    Folds,
    grouped,
    k_fold,
    leave_one_out,
    stratified,
    time_ordered,
)
from jaxml.evaluate.selection._scores import (
    Nested,
    ScoreCurve,
    Scores,
    cross_validate,
    learning_curve,
    nested,
    out_of_fold,
    scorer,
    validation_curve,
)
from jaxml.evaluate.selection._search import descend, grid, random_search

__all__ = [
    "Folds",
    "Nested",
    "ScoreCurve",
    "Scores",
    "cross_validate",
    "descend",
    "grid",
    "grouped",
    "k_fold",
    "learning_curve",
    "leave_one_out",
    "nested",
    "out_of_fold",
    "random_search",
    "scorer",
    "stratified",
    "time_ordered",
    "validation_curve",
]
