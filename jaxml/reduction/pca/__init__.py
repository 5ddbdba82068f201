"""Principal components: directions of largest variance, order parameters (slides 2.1).

`pca.fit` finds them at once, `pca.randomised` and `pca.power` by iteration, `pca.oja`
and `pca.sanger` one example after the other; `pca.moments` and `pca.merge` gather what
is needed from data that come in parts. `pca.log_likelihood` and its neighbours read the
components as a Gaussian model, and `pca.missing` fits that where entries are missing.
"""

from jaxml.reduction.pca import missing as missing
from jaxml.reduction.pca.iteration import init as init
from jaxml.reduction.pca.iteration import oja as oja
from jaxml.reduction.pca.iteration import power as power
from jaxml.reduction.pca.iteration import randomised as randomised
from jaxml.reduction.pca.iteration import sanger as sanger
from jaxml.reduction.pca.iteration import step as step
from jaxml.reduction.pca.principal import Params as Params
from jaxml.reduction.pca.principal import cost as cost
from jaxml.reduction.pca.principal import (
    explained_variance_ratio as explained_variance_ratio,
)
from jaxml.reduction.pca.principal import fit as fit
from jaxml.reduction.pca.principal import inverse as inverse
from jaxml.reduction.pca.principal import reconstruct as reconstruct
from jaxml.reduction.pca.principal import retained as retained
from jaxml.reduction.pca.principal import transform as transform
from jaxml.reduction.pca.principal import whiten as whiten
from jaxml.reduction.pca.probabilistic import evidence as evidence
from jaxml.reduction.pca.probabilistic import log_likelihood as log_likelihood
from jaxml.reduction.pca.probabilistic import posterior as posterior
from jaxml.reduction.pca.probabilistic import sample as sample
from jaxml.reduction.pca.streaming import Moments as Moments
from jaxml.reduction.pca.streaming import from_moments as from_moments
from jaxml.reduction.pca.streaming import merge as merge
from jaxml.reduction.pca.streaming import moments as moments
