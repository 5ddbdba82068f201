"""Scores of clusters against scikit-learn, and as weights are counts."""

import numpy as np
import pytest
from sklearn import metrics

from jaxml.evaluate import clusters

RANDOM = np.random.default_rng(0)
SAMPLES = {"k": 3}
M, K = 60, 4
Y = RANDOM.integers(0, K, M)
LABELS = np.where(RANDOM.random(M) < 0.6, Y, RANDOM.integers(0, K, M))
X = RANDOM.normal(size=(M, 2)) + 2 * np.eye(K, 2)[LABELS]
COUNTS = RANDOM.integers(1, 4, M)


def test_inner_scores_are_sklearns(x64):
    found = clusters.silhouette(X, LABELS, k=K)
    np.testing.assert_allclose(found, metrics.silhouette_samples(X, LABELS), atol=1e-9)
    found = clusters.davies_bouldin(X, LABELS, k=K)
    np.testing.assert_allclose(found, metrics.davies_bouldin_score(X, LABELS))


def test_outer_scores_are_sklearns(x64):
    found = clusters.adjusted_rand(Y, LABELS, k=K)
    np.testing.assert_allclose(found, metrics.adjusted_rand_score(Y, LABELS))
    found = clusters.mutual_information(Y, LABELS, k=K)
    np.testing.assert_allclose(found, metrics.normalized_mutual_info_score(Y, LABELS))


@pytest.mark.parametrize("score", [clusters.silhouette, clusters.davies_bouldin])
def test_inner_weights_are_repeated_rows(score, x64):
    rows = np.repeat(np.arange(M), COUNTS)
    one = np.asarray(score(X, LABELS, k=K, weights=COUNTS))
    two = np.asarray(score(X[rows], LABELS[rows], k=K))
    np.testing.assert_allclose(one[rows] if one.ndim else one, two, atol=1e-9)


@pytest.mark.parametrize("score", [clusters.adjusted_rand, clusters.mutual_information])
def test_outer_weights_and_names(score, x64):
    rows = np.repeat(np.arange(M), COUNTS)
    one = score(Y, LABELS, k=K, weights=COUNTS)
    np.testing.assert_allclose(one, score(Y[rows], LABELS[rows], k=K), rtol=1e-12)
    # The numbers of the clusters mean nothing.
    np.testing.assert_allclose(score(Y, (Y + 1) % K, k=K), 1, rtol=1e-12)
    np.testing.assert_allclose(score(np.zeros(5, int), np.zeros(5, int), k=2), 1)


def test_blocks_of_rows():
    """More rows than a block."""
    x = np.random.default_rng(1).normal(size=(4100, 1)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(int)
    wanted = metrics.silhouette_score(x, labels)
    found = clusters.silhouette(x, labels, k=2)
    np.testing.assert_allclose(found.mean(), wanted, atol=1e-4)


def test_a_row_alone_and_a_cluster_alone(x64):
    x = np.array([[0.0], [1.0], [5.0]])
    found = clusters.silhouette(x, np.array([0, 0, 2]), k=3)
    np.testing.assert_allclose(found, [(5 - 1) / 5, (4 - 1) / 4, 0])
    assert np.isnan(clusters.silhouette(x, np.zeros(3, int), k=2)).all()
    assert np.isnan(clusters.davies_bouldin(x, np.zeros(3, int), k=2))
