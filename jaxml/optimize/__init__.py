"""Minimisers that know no model."""

from jaxml.optimize import proximal as proximal
from jaxml.optimize import train as train
from jaxml.optimize.conjugate import conjugate as conjugate
from jaxml.optimize.constrained import constrained as constrained
from jaxml.optimize.fit import Fit as Fit
from jaxml.optimize.fit import Status as Status
from jaxml.optimize.fit import best as best
from jaxml.optimize.fit import check as check
from jaxml.optimize.fit import iterate as iterate
from jaxml.optimize.minimize import minimize as minimize
from jaxml.optimize.newton import gauss_newton as gauss_newton
from jaxml.optimize.newton import levenberg_marquardt as levenberg_marquardt
from jaxml.optimize.newton import newton as newton
from jaxml.optimize.newton import newton_cg as newton_cg
