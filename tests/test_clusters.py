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


# --- wherever the rows lie ------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 12])
def test_clusters_that_are_near_for_how_far_they_lie(n):
    """Four clusters of two equal rows, two far from the other two: each is compact."""
    x = np.float32([[-1e4], [1 - 1e4], [1e4], [1e4 + 1]]).repeat(2, 0).repeat(n, 1)
    labels = np.arange(4).repeat(2)
    np.testing.assert_array_equal(clusters.silhouette(x, labels, k=4), 1)
    assert clusters.davies_bouldin(x, labels, k=4) == 0
    x[::2, 0] += np.float32(0.25)
    found = clusters.silhouette(x, labels, k=4)
    wanted = metrics.silhouette_samples(x.astype(float), labels)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    found = clusters.davies_bouldin(x, labels, k=4)
    wanted = metrics.davies_bouldin_score(x.astype(float), labels)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("score", [clusters.silhouette, clusters.davies_bouldin])
def test_scores_have_no_unit_and_rows_of_weight_0_no_say(score):
    x = X.astype(np.float32)
    counts = np.where(np.arange(M) < M - 5, 1, 0)
    wanted = score(x, LABELS, k=K, weights=counts)
    for unit in (2.0**-66, 2.0**66):
        found = score(x * np.float32(unit), LABELS, k=K, weights=counts)
        np.testing.assert_array_equal(found, wanted)
    for size in (-1e6, 1e30):
        spoiled = np.where(counts[:, None] > 0, x, np.float32(size))
        found = score(spoiled, LABELS, k=K, weights=counts)
        kept = slice(None, M - 5) if wanted.ndim else ()
        np.testing.assert_allclose(found[kept], wanted[kept], rtol=1e-5, atol=1e-6)
    alone = score(x[: M - 5], LABELS[: M - 5], k=K)
    np.testing.assert_allclose(alone, wanted[kept], rtol=1e-5, atol=1e-6)


def test_means_that_coincide():
    """Two of three clusters about one point: scikit-learn passes over the pair."""
    x = np.float32([[-1], [1], [-2], [2], [9], [10]])
    labels = np.arange(3).repeat(2)
    found = clusters.davies_bouldin(x, labels, k=3)
    np.testing.assert_allclose(found, metrics.davies_bouldin_score(x, labels))


def test_partitions_of_one_row_and_of_very_many():
    one = np.zeros(1, int)
    assert clusters.adjusted_rand(one, one, k=2) == 1
    many = clusters.adjusted_rand(Y, LABELS, k=K, weights=np.full(M, 2.0**40))
    table = metrics.cluster.contingency_matrix(Y, LABELS).astype(float)
    both, a, b = (np.sum(t**2) for t in (table, table.sum(0), table.sum(1)))
    chance = a * b / M**2
    np.testing.assert_allclose(many, (both - chance) / ((a + b) / 2 - chance), 1e-4)


def test_mutual_information_is_not_negative():
    for seed in range(30):
        y, labels = np.divmod(np.random.default_rng(seed).permutation(M * 3) % 12, 4)
        assert 0 <= clusters.mutual_information(y, labels, k=4) < 1e-6
