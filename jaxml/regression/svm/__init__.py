"""Support vector machines: the widest margin, by geometry (slides 1.4).

`svm.fit` finds a plane in the space of x; `svm.kernel` one in the space of a kernel;
`svm.regression` a curve with a margin around it; `svm.one_class` the edge of a cloud;
`svm.multiclass` several classes; `svm.hulls` the nearest points of two convex hulls,
which is the same problem drawn with ruler and pencil.
"""

from jaxml.regression.svm import hulls, kernel, multiclass, one_class, regression
from jaxml.regression.svm._hyperplane import (
    Params,
    cost,
    distances,
    duality_gap,
    fit,
    kkt_residual,
    margin,
    predict,
    scores,
    support_mask,
)

__all__ = [
    "Params",
    "cost",
    "distances",
    "duality_gap",
    "fit",
    "hulls",
    "kernel",
    "kkt_residual",
    "margin",
    "multiclass",
    "one_class",
    "predict",
    "regression",
    "scores",
    "support_mask",
]
