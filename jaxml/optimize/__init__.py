"""Model-agnostic optimizers: what optax does not have, and derivatives of minima.

`optimize.minimize` lowers any cost with any optax optimiser; `optimize.proximal` costs
with kinks, `optimize.constrained` those with constraints. `optimize.conjugate`,
`optimize.newton`, `optimize.newton_cg`, `optimize.gauss_newton` and
`optimize.levenberg_marquardt` are optimisers for `minimize`; `optimize.iterate` is the
loop that every fit runs.
"""

from jaxml.optimize import proximal
from jaxml.optimize._conjugate import conjugate, scale_by_conjugate
from jaxml.optimize._constrained import constrained
from jaxml.optimize._fit import iterate
from jaxml.optimize._minimize import minimize
from jaxml.optimize._newton import gauss_newton, levenberg_marquardt, newton, newton_cg

__all__ = [
    "conjugate",
    "constrained",
    "gauss_newton",
    "iterate",
    "levenberg_marquardt",
    "minimize",
    "newton",
    "newton_cg",
    "proximal",
    "scale_by_conjugate",
]
