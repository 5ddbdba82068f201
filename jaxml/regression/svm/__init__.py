"""Support vector machines: the widest margin, by geometry (slides 1.4).

`svm.fit` finds a plane in the space of x; `svm.kernel` one in the space of a kernel;
`svm.tube` a curve with a margin around it; `svm.one_class` the edge of a cloud;
`svm.multiclass` several classes; `svm.hulls` the nearest points of two convex hulls,
which is the same problem drawn with ruler and pencil.
"""

from jaxml.regression.svm import hulls as hulls
from jaxml.regression.svm import kernel as kernel
from jaxml.regression.svm import multiclass as multiclass
from jaxml.regression.svm import one_class as one_class
from jaxml.regression.svm import tube as tube
from jaxml.regression.svm.hyperplane import Params as Params
from jaxml.regression.svm.hyperplane import cost as cost
from jaxml.regression.svm.hyperplane import distances as distances
from jaxml.regression.svm.hyperplane import duality_gap as duality_gap
from jaxml.regression.svm.hyperplane import fit as fit
from jaxml.regression.svm.hyperplane import imbalance as imbalance
from jaxml.regression.svm.hyperplane import margin as margin
from jaxml.regression.svm.hyperplane import predict as predict
from jaxml.regression.svm.hyperplane import scores as scores
from jaxml.regression.svm.hyperplane import support as support
