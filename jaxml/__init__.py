"""Machine learning as pure functions over parameter pytrees, on JAX, optax and chex.

Every model is a module of pure functions, and fitting is one of them: it can be jitted,
vmapped over data sets, folds, penalties and seeds, differentiated, and sharded.

    from jaxml import feedforward
    params = feedforward.init(jax.random.key(0), sizes=(64, 30, 10))
    fit = jaxml.check(feedforward.fit(params, x, y, l2=1e-4))
"""

from jaxml import optimize as optimize
from jaxml import plot as plot
from jaxml._check import checked as checked
from jaxml._programs import cache_compiled as cache_compiled
from jaxml.data import datasets as datasets
from jaxml.data import scaling as scaling
from jaxml.evaluate import bootstrap as bootstrap
from jaxml.evaluate import calibration as calibration
from jaxml.evaluate import clusters as clusters
from jaxml.evaluate import metrics as metrics
from jaxml.evaluate import ranking as ranking
from jaxml.evaluate import selection as selection
from jaxml.networks import feedforward as feedforward
from jaxml.networks import neuron as neuron
from jaxml.optimize import train as train
from jaxml.optimize.fit import Fit as Fit
from jaxml.optimize.fit import best as best
from jaxml.optimize.fit import check as check
from jaxml.physics import gardner as gardner
from jaxml.physics import information as information
from jaxml.physics import ising as ising
from jaxml.physics import onsager as onsager
from jaxml.physics import potts as potts
from jaxml.physics import random_matrix as random_matrix
from jaxml.physics import statmech as statmech
from jaxml.physics import xy as xy
from jaxml.reduction import annealing as annealing
from jaxml.reduction import kernel_pca as kernel_pca
from jaxml.reduction import kmeans as kmeans
from jaxml.reduction import mixture as mixture
from jaxml.reduction import pca as pca
from jaxml.reduction import recommend as recommend
from jaxml.reduction import superparamagnetic as superparamagnetic
from jaxml.regression import basis as basis
from jaxml.regression import curve as curve
from jaxml.regression import kernels as kernels
from jaxml.regression import lasso as lasso
from jaxml.regression import linear as linear
from jaxml.regression import logistic as logistic
from jaxml.regression import ridge as ridge
from jaxml.regression import softmax as softmax
from jaxml.regression import svm as svm

__version__ = "0.1.0"
