"""Machine learning as pure functions over parameter pytrees, on JAX, optax and chex.

Every model is a module of pure functions, and fitting is one of them: it can be jitted,
vmapped over data sets, folds, penalties and seeds, differentiated, and sharded.

    from jaxml import feedforward
    params = feedforward.init(jax.random.key(0), sizes=(64, 30, 10))
    fit = jaxml.check(feedforward.fit(params, x, y, l2=1e-4))

Linear models and kernels

    linear ridge lasso   least squares, and with a penalty on squares or sizes
    logistic softmax     two classes, and many
    poisson              counts
    svm                  support vector machines, of planes and of kernels
    curve                any curve with parameters, through points with errors
    basis kernels        features of x, and inner products of them

Structure

    pca kernel_pca       principal components
    kmeans mixture       clusters, and Gaussian ones
    annealing superparamagnetic   clusters by statistical mechanics
    recommend            who would like what

Networks and training

    neuron feedforward   one unit, and layers of them
    convolution dropout  images under filters, and pools; units left out at random
    train optimize       mini-batches, and minimisers of any cost

Physics

    statmech ising potts xy onsager   ensembles, spin models, exact results
    gardner random_matrix information capacity, spectra, rate and distortion

Data, and how good a model is

    datasets scaling     the course's data; units, targets and splits
    checkpoint           files of parameters and of training runs
    metrics ranking clusters calibration   scores of predictions
    selection bootstrap  folds, grids and intervals
    plot                 pictures of other modules' results
"""

import sys

from jaxml import _check, optimize, plot
from jaxml._check import checkify
from jaxml._programs import cache_compiled
from jaxml.data import checkpoint, datasets, scaling
from jaxml.evaluate import bootstrap, calibration, clusters, metrics, ranking, selection
from jaxml.networks import convolution, dropout, feedforward, neuron
from jaxml.optimize import train
from jaxml.optimize._fit import Fit, Status, best, check
from jaxml.physics import (
    gardner,
    information,
    ising,
    onsager,
    potts,
    random_matrix,
    statmech,
    xy,
)
from jaxml.reduction import (
    annealing,
    kernel_pca,
    kmeans,
    mixture,
    pca,
    recommend,
    superparamagnetic,
)
from jaxml.regression import (
    basis,
    curve,
    kernels,
    lasso,
    linear,
    logistic,
    poisson,
    ridge,
    softmax,
    svm,
)

__all__ = [
    "Fit",
    "Status",
    "annealing",
    "basis",
    "best",
    "bootstrap",
    "cache_compiled",
    "calibration",
    "check",
    "checkify",
    "checkpoint",
    "clusters",
    "convolution",
    "curve",
    "datasets",
    "dropout",
    "feedforward",
    "gardner",
    "information",
    "ising",
    "kernel_pca",
    "kernels",
    "kmeans",
    "lasso",
    "linear",
    "logistic",
    "metrics",
    "mixture",
    "neuron",
    "onsager",
    "optimize",
    "pca",
    "plot",
    "poisson",
    "potts",
    "random_matrix",
    "ranking",
    "recommend",
    "ridge",
    "scaling",
    "selection",
    "softmax",
    "statmech",
    "superparamagnetic",
    "svm",
    "train",
    "xy",
]

__version__ = "0.1.0"

_check.document(sys.modules[__name__])
