"""Many classes against LIBSVM's pairs and scikit-learn's one-vs-rest."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from jaxml import Status, check
from jaxml.regression import kernels
from jaxml.regression.svm import kernel as svm
from jaxml.regression.svm import multiclass

X, Y = load_iris(return_X_y=True)
M, K = len(X), 3
L2, GAMMA = 0.004, 0.5
C = 1 / (L2 * M)
REST = "one-vs-rest"

SAMPLES = {
    "k": K,
    "params": multiclass.Params(
        np.random.default_rng(0).normal(size=(7, 3)),
        np.random.default_rng(1).normal(size=(3, 7)) / 5,
        np.array([0.1, -0.2, 0.3]),
        np.array(0.5),
        np.array(1.0),
    ),
    "class_weights": np.array([0.7, 1.6, 1.0]),
    "fit.tol": 1e-5,
    "fit.gamma": 0.5,
}


def test_pairs_agree_with_libsvm(x64):
    fit = check(multiclass.fit(X, Y, k=K, l2=L2, gamma=GAMMA, tol=1e-9))
    theirs = SVC(
        C=C, gamma=GAMMA, tol=1e-9, decision_function_shape="ovo", break_ties=False
    ).fit(X, Y)
    f = multiclass.scores(fit.params, X)
    np.testing.assert_allclose(f, theirs.decision_function(X), atol=1e-5)
    theirs.set_params(decision_function_shape="ovr", break_ties=True)
    wanted = theirs.decision_function(X)
    np.testing.assert_allclose(multiclass.votes(fit.params, X), wanted, atol=1e-5)
    predicted = multiclass.predict(fit.params, X)
    np.testing.assert_array_equal(predicted, theirs.predict(X))
    assert predicted.dtype == jnp.int32


@pytest.mark.long
def test_votes_where_pairs_disagree(x64):
    # Far more classes than iris, and noise: ties of votes are then common.
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(90, 2)), np.arange(90) % 6
    fit = check(multiclass.fit(x, y, k=6, l2=0.01, gamma=1.0, tol=1e-9))
    theirs = SVC(C=1 / 0.9, gamma=1.0, tol=1e-9, break_ties=True).fit(x, y)
    points = rng.normal(size=(200, 2))
    votes = multiclass.votes(fit.params, points)
    np.testing.assert_allclose(votes, theirs.decision_function(points), atol=1e-4)
    np.testing.assert_array_equal(
        multiclass.predict(fit.params, points), theirs.predict(points)
    )


def test_one_vs_rest_agrees_with_sklearn(x64):
    fit = check(multiclass.fit(X, Y, k=K, l2=L2, gamma=GAMMA, tol=1e-9, scheme=REST))
    theirs = OneVsRestClassifier(SVC(C=C, gamma=GAMMA, tol=1e-9)).fit(X, Y)
    votes = multiclass.votes(fit.params, X)
    np.testing.assert_allclose(votes, theirs.decision_function(X), atol=1e-5)
    predicted = multiclass.predict(fit.params, X)
    np.testing.assert_array_equal(predicted, theirs.predict(X))


@pytest.mark.long
def test_each_machine_is_the_machine_for_two(x64):
    weights = np.random.default_rng(1).uniform(0.5, 2, M)
    factors = np.array([1.0, 0.5, 2.0])
    w = weights * factors[Y]
    fit = check(
        multiclass.fit(
            X,
            Y,
            k=K,
            l2=L2,
            gamma=GAMMA,
            tol=1e-9,
            weights=weights,
            class_weights=factors,
        )
    )
    costs = []
    for p, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        kept = (i == Y) | (j == Y)
        # The same C, although Σw is less; and the cost is a share of all rows.
        share = w[kept].sum() / w.sum()
        one = svm.fit(
            X,
            (i == Y).astype(int),
            l2=L2 / share,
            gamma=GAMMA,
            weights=w * kept,
            tol=1e-9,
        )
        np.testing.assert_allclose(fit.params.alpha[p], one.params.alpha, atol=1e-6)
        np.testing.assert_allclose(fit.params.b[p], one.params.b, atol=1e-7)
        assert not np.any(np.asarray(fit.params.alpha[p])[~kept])
        costs.append(one.cost * share)
    np.testing.assert_allclose(fit.cost, sum(costs), rtol=1e-8)
    duals = fit.history[np.isfinite(fit.history)]
    np.testing.assert_allclose(duals[-1], fit.cost, rtol=1e-7)


@pytest.mark.long
def test_blocks_find_the_same(x64):
    options = {"k": K, "l2": L2, "gamma": GAMMA, "tol": 1e-8}
    full = multiclass.fit(X, Y, **options)
    block = multiclass.fit(X, Y, solver="block", **options)
    np.testing.assert_allclose(
        multiclass.scores(full.params, X),
        multiclass.scores(check(block).params, X),
        atol=1e-6,
    )


@pytest.mark.long
def test_precomputed_is_the_kernel():
    gram = kernels.rbf(X, X, gamma=GAMMA)
    fit = check(multiclass.fit(gram, Y, k=K, l2=L2, kernel="precomputed"))
    theirs = SVC(C=C, kernel="precomputed").fit(np.asarray(gram), Y)
    predicted = multiclass.predict(fit.params, gram)
    assert np.mean(predicted == theirs.predict(gram)) > 0.99


def test_folds_in_one_batch():
    folds = (np.arange(M)[None] % 3 != np.arange(3)[:, None]).astype(np.float32)

    def one(weights):
        fit = multiclass.fit(X, Y, k=K, l2=L2, gamma=GAMMA, weights=weights)
        return fit, multiclass.predict(fit.params, X)

    fits, predicted = jax.vmap(one)(folds)
    check(fits)
    for fold, ours in zip(folds > 0, predicted):
        theirs = SVC(C=1 / (L2 * fold.sum()), gamma=GAMMA).fit(X[fold], Y[fold])
        assert np.mean(ours == theirs.predict(X)) > 0.99


@pytest.mark.long
def test_a_class_that_is_not_there_is_invalid():
    for scheme in multiclass.SCHEMES:
        fit = multiclass.fit(X, Y, k=4, l2=L2, gamma=GAMMA, scheme=scheme)
        assert fit.status == Status.INVALID


def test_refuses():
    with pytest.raises(ValueError, match="k must be at least 2"):
        multiclass.fit(X, 0 * Y, k=1)
    with pytest.raises(ValueError, match="y holds the label 2"):
        multiclass.fit(X, Y, k=2)
    with pytest.raises(ValueError, match="scheme must be one of"):
        multiclass.fit(X, Y, k=3, scheme="all")
    with pytest.raises(ValueError, match="class_weights has shape"):
        multiclass.fit(X, Y, k=3, class_weights=np.ones(4))
    with pytest.raises(ValueError, match="params.scheme must be one of"):
        multiclass.predict(replace(SAMPLES["params"], scheme="all"), X[:, :3])
    four = replace(SAMPLES["params"], alpha=np.ones((4, 7)), b=np.ones(4))
    with pytest.raises(ValueError, match="params hold 4 machines"):
        multiclass.votes(four, X[:, :3])
