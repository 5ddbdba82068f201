"""How the arguments and answers of each module change with units and origins.

UNITS[module][u] holds powers: with values of u in units that are c times smaller, what
is named is c to that power as large. ORIGINS[module][u] holds what moves with the
origin of u: 1 by as much, None in a way of its own (it is not compared). What is not
named stays. A name is that of an argument, of a field in one or in the answer, or of
the function for its answer, outer fields before inner ones; `f.name` is an argument's
in the function f alone, and `f().name` its answer's, and they go before. A tuple says
the powers of the entries of the last axis.

Of the tests of weights, ROWS makes arguments that hold rows in another form anew
without those of weight 0, COMPARED takes of a function's answer what can be compared
although rows are missing, and GIVEN replaces samples: {module: {name: …}}.
"""

import numpy as np

from jaxml import calibration, recommend
from tests.ratings import FEW

# oja and sanger take a rate in units of x, and learn variances at that rate; what mixes
# forces on w and on b, as kkt_residual and kkt_residual, has no unit.
LINE = (-1, -1, -1, 0)  # of w, (3,), and b in x
PLANE = {"x": 1, "w": -1, "l1": 1, "l2": 2, "gradient().w": 1}
TABLE = {
    "inference().statistic": 0,
    "inference().p": 0,
    "covariance": np.add.outer(LINE, LINE),
}
GAUSSIAN = {"x": 1, "gamma": -2}
SPREAD = {"x": 1, "mean": 1, "variances": 2, "total": 2, "noise": 2, "cost": 2}
RATES = {
    **{"y": 1, "theta": 0.5, "x": 0.5, "l2": 1, "cost": 2, "scores": 1, "predict": 1},
    **{"gradient().theta": 1.5, "gradient().x": 1.5, "fold_in": 0.5, "normalise": 1},
}

UNITS = {
    "linear": {
        "x": {
            **PLANE,
            **TABLE,
            "covariance": np.add.outer(LINE, LINE),
            "at": 1,
            "width": 1,
        },
        "y": {
            **{"y": 1, "w": 1, "b": 1, "cost": 2, "predict": 1, "gradient": 1},
            **{"inference().statistic": 0, "inference().p": 0, "covariance": 2},
            **{"variance": 2, "log_likelihood": None, "aic": None, "bic": None},
            **{"band": 1, "locally_weighted": 1},
        },
    },
    "ridge": {
        "x": {**PLANE, "radius": -1, "multiplier": 2},
        "y": {
            **{"y": 1, "w": 1, "b": 1, "cost": 2, "predict": 1, "gradient": 1},
            **{"leave_one_out": 2, "gcv": 2, "evidence": None, "radius": 1},
        },
    },
    "lasso": {
        "x": {**PLANE, "l1s": 1, "largest_l1": 1, "kkt_residual": None},
        "y": {
            **{"y": 1, "w": 1, "b": 1, "cost": 2, "l1": 1, "l1s": 1, "largest_l1": 1},
            **{"kkt_residual": 1, "duality_gap": 2, "predict": 1},
        },
    },
    "logistic": {
        "x": {
            **PLANE,
            **TABLE,
            **{"contrasts": 1, "ising_couplings.l2": 0},
            **{"centred.covariance": 0, "centre": 1, "unit": LINE},
        }
    },
    "softmax": {"x": PLANE},
    "poisson": {
        "x": {
            **PLANE,
            **TABLE,
            **{"contrasts": 1, "log_rate": 0, "predict": 0},
            **{"centred.covariance": 0, "centre": 1, "unit": LINE},
        }
    },
    "hyperplane": {
        "x": {
            "x": 1,
            "w": -1,
            "l2": 2,
            "alpha": -2,
            "distances": 1,
            "margin": 1,
            "kkt_residual": None,
        }
    },
    "hulls": {
        "x": {"x": 1, "p": 1, "q": 1, "levels": 2, "w": -1, "cost": 2, "distance": 1}
    },
    "kernel": {"x": GAUSSIAN},
    "multiclass": {"x": GAUSSIAN},
    "one_class": {"x": GAUSSIAN},
    "regression": {
        "x": GAUSSIAN,
        "y": {
            **{"y": 1, "epsilon": 1, "alpha": 1, "b": 1, "l2": -1, "cost": 1},
            **{"predict": 1, "duality_gap": 1, "kkt_residual": 1},
        },
    },
    "kernels": {
        "x": {
            **{"a": 1, "b": 1, "x": 1, "gamma": -2, "linear": 2},
            **{"squared_distances": 2, "scale_gamma": -2, "median_gamma": -2},
            "laplacian.gamma": -1,
        }
    },
    "basis": {
        "x": {
            **{"x": 1, "centres": 1, "width": 1, "knots": 1, "period": 1, "gamma": -2},
            **{"polynomial": None, "landmarks": 1, "frequencies": -1},
        }
    },
    "kmeans": {"x": {"x": 1, "centres": 1, "cost": 2, "transform": 1, "elbow": 2}},
    "mixture": {
        "x": {
            **{"x": 1, "means": 1, "covariances": 2, "cost": None, "sample": 1},
            **{"log_density": None, "aic": None, "bic": None},
        }
    },
    "annealing": {
        "x": {
            **{"x": 1, "centres": 1, "temperature": 2, "temperatures": 2, "cost": 2},
            **{"free_energy": 2, "distortion": 2, "critical_temperature": 2},
            **{"critical": 2, "split": 2, "cooling": 2},
        }
    },
    "kernel_pca": {"x": GAUSSIAN},
    "principal": {
        "x": {**SPREAD, "transform": 1, "z": 1, "inverse": 1, "reconstruct": 1}
    },
    "iteration": {"x": {**SPREAD, "oja": None, "sanger": None}},
    "missing": {"x": {**SPREAD, "cost": None, "impute": 1}},
    "probabilistic": {
        "x": {
            **SPREAD,
            "posterior().mean": 0,
            "log_likelihood": None,
            "evidence": None,
            "sample": 1,
        }
    },
    "streaming": {"x": {**SPREAD, "scatter": 2}},
    "clusters": {"x": {"x": 1}},
    "superparamagnetic": {"x": {"x": 1}},
    "scaling": {"x": {"x": 1, "shift": 1, "scale": 1, "invert": 1}},
    "metrics": {
        "y": {
            "rmse.y": 1,
            "mae.y": 1,
            "r2.y": 1,
            "rmse.predicted": 1,
            "mae.predicted": 1,
            "r2.predicted": 1,
            "rmse": 1,
            "mae": 1,
        }
    },
    "statmech": {
        "energy": {
            **{"energies": 1, "temperature": 1, "chemical_potential": 1, "beta": -1},
            **{"grand_potential": 1, "free_energy": 1, "mean_energy": 1},
            **{"features": 1, "targets": 1, "params": -1},
        }
    },
    "information": {
        "distortion": {
            "distortions": 1,
            "distortion": 1,
            "temperature": 1,
            "cost": 1,
            "variances": 1,
        }
    },
    "factors": {"y": RATES},
    "convolution": {
        "x": {"x": 1, "conv": 1, "conv_max_pool": 1, "max_pool": 1, "mean_pool": 1},
        "kernel": {"kernel": 1, "conv": 1, "conv_max_pool": 1},
    },
}

MOVING = {"x": 1, "b": None}
ORIGINS = {
    "linear": {"x": {**MOVING, "inference().covariance": None, "at": 1}},
    "ridge": {"x": MOVING},
    "lasso": {"x": MOVING},
    "logistic": {"x": MOVING},
    "poisson": {"x": MOVING},
    "softmax": {"x": MOVING},
    "hyperplane": {"x": MOVING},
    "hulls": {"x": {"x": 1, "p": 1, "q": 1, "levels": None, "b": None}},
    "kernel": {"x": {"x": 1}},
    "multiclass": {"x": {"x": 1}},
    "one_class": {"x": {"x": 1}},
    "regression": {"x": {"x": 1}},
    "kernels": {
        "x": {
            "rbf.a": 1,
            "rbf.b": 1,
            "matern.a": 1,
            "matern.b": 1,
            "laplacian.a": 1,
            "laplacian.b": 1,
            "squared_distances.a": 1,
            "squared_distances.b": 1,
            "scale_gamma.x": 1,
            "median_gamma.x": 1,
        }
    },
    "basis": {
        "x": {"radial.x": 1, "centres": 1, "knots.x": 1, "knots": 1, "b_spline.x": 1}
    },
    "kmeans": {"x": {"x": 1, "centres": 1}},
    "mixture": {"x": {"x": 1, "means": 1, "sample": 1}},
    "annealing": {"x": {"x": 1, "centres": 1}},
    "kernel_pca": {"x": {"x": 1}},
    "principal": {"x": {"x": 1, "mean": 1, "inverse": 1, "reconstruct": 1}},
    "iteration": {"x": {"x": 1, "mean": 1}},
    "missing": {"x": {"x": 1, "mean": 1, "impute": 1}},
    "probabilistic": {"x": {"x": 1, "mean": 1, "posterior().mean": 0, "sample": 1}},
    "streaming": {"x": {"x": 1, "mean": 1}},
    "clusters": {"x": {"x": 1}},
    "superparamagnetic": {"x": {"x": 1}},
    "scaling": {"x": {"x": 1, "shift": 1, "invert": 1}},
    "convolution": {
        "x": {"max_pool.x": 1, "max_pool": 1, "mean_pool.x": 1, "mean_pool": 1},
    },
}


def ratings(positive=False):
    """What makes the ratings of the samples without some of them."""

    def rated(zero):
        y = np.random.default_rng(0).normal(size=12)
        y = np.abs(y) + 0.1 if positive else y
        left = [np.delete(a, zero) for a in (FEW["user"], FEW["item"], y)]
        return recommend.prepare(*left, users=FEW["users"], items=FEW["items"])

    return rated


ROWS = {
    "factors": {"ratings": ratings()},
    "biased": {"ratings": ratings()},
    "content": {"ratings": ratings()},
    "variational": {"ratings": ratings()},
    "implicit": {"ratings": ratings(positive=True)},
    "nonnegative": {"ratings": ratings(positive=True)},
}
PLACES = np.linspace(-1, 1, 7, dtype=np.float32)
COMPARED = {
    "lists": {"known": lambda pairs: (pairs.item[: pairs.start[-1]], pairs.start)},
    "calibration": {
        "isotonic": lambda fit: (
            fit.cost,
            calibration.probability(fit.params, PLACES),
        )
    },
}
# Options of fits whose cost is convex in w and b, and has no constraint.
CONVEX: dict[str, list[dict]] = {
    "linear": [{}, {"solver": "cg"}],
    "ridge": [{}],
    "lasso": [{}],
    "logistic": [{}, {"solver": "lbfgs"}, {"l1": 0.05}],
    "softmax": [{}, {"solver": "lbfgs"}, {"l1": 0.05}],
    "poisson": [{}, {"solver": "lbfgs"}, {"l1": 0.05}],
    "hyperplane": [{}, {"loss": "hinge"}],
}
GIVEN = {
    "basis": {"k": 5},  # nystroem draws among the rows of positive weight
    "missing": {"max_iter": 3},  # of 9 rows it leaves no noise in the end
}
