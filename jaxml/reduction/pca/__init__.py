"""Principal components: directions of largest variance, order parameters (slides 2.1).

`pca.fit` finds them at once, `pca.randomised` and `pca.power` by iteration, `pca.oja`
and `pca.sanger` one example after the other; `pca.moments` and `pca.merge` gather what
is needed from data that come in parts. `pca.log_likelihood` and its neighbours read the
components as a Gaussian model, and `pca.missing` fits that where entries are missing.
"""

from jaxml.reduction.pca import missing
from jaxml.reduction.pca._iteration import init, oja, power, randomised, sanger, step
from jaxml.reduction.pca._principal import (
    Params,
    cost,
    cumulative_explained_variance,
    explained_variance_ratio,
    fit,
    inverse,
    reconstruct,
    transform,
    whiten,
)
from jaxml.reduction.pca._probabilistic import (
    evidence,
    log_likelihood,
    posterior,
    sample,
)
from jaxml.reduction.pca._streaming import Moments, from_moments, merge, moments

__all__ = [
    "Moments",
    "Params",
    "cost",
    "cumulative_explained_variance",
    "evidence",
    "explained_variance_ratio",
    "fit",
    "from_moments",
    "init",
    "inverse",
    "log_likelihood",
    "merge",
    "missing",
    "moments",
    "oja",
    "posterior",
    "power",
    "randomised",
    "reconstruct",
    "sample",
    "sanger",
    "step",
    "transform",
    "whiten",
]
