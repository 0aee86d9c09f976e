"""Rows as features, and the way back from their derivatives."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skcml.problems.features import LinearHead, RowCotangents
from skcml.problems.meta_params import MetaParams
from skcml.problems.mlp import MLPBody
from tests.builders import BODIES, head_problem, random_episode, random_theta, tensors

EACH = pytest.mark.parametrize("hidden", BODIES)


def case(hidden, n_outputs=2, **options):
    """Return a head that has no likelihood and no noise, with meta-parameters and an episode."""
    like = head_problem(hidden, n_outputs)
    head = LinearHead(like.body, like.factor_mask, n_outputs)
    drawn, theta = random_theta(like), MetaParams(head.shapes)
    for name in theta:
        theta[name][...] = drawn[name]
    return head, theta, random_episode(like, **options)


@EACH
def test_rows_are_whitened_features_and_a_prior_mean(hidden):
    head, theta, episode = case(hidden)
    found = head.features(theta, episode)
    for x, a, mean in (
        (episode.x_support, found.a_support, found.mean_support),
        (episode.x_query, found.a_query, found.mean_query),
    ):
        for t in range(4):
            z, _ = head.body.forward(theta, x[t])
            for o in range(2):
                assert_allclose(a[o, t], z @ theta["factor"][o], atol=1e-13)
                assert_allclose(mean[o, t], z @ theta["omega"][o], atol=1e-13)
    assert found.z.shape == (4 * (5 + 6), head.body.n_features)


def test_query_weights_are_proportions():
    head, theta, episode = case(())
    episode.w_query[2] = 0.0
    found = head.features(theta, episode)
    assert_allclose(found.w_query.sum(1), [1.0, 1.0, 0.0, 1.0])
    assert_allclose(found.w_query[1], episode.w_query[1] / episode.w_query[1].sum())
    assert found.w_support is episode.w_support


def test_an_episode_may_have_no_support_row():
    head, theta, episode = case((7,), n_support=2)
    empty = type(episode)(
        episode.x_support[:, :0],
        episode.y_support[..., :0],
        episode.w_support[:, :0],
        episode.x_query,
        episode.y_query,
        episode.w_query,
    )
    found = head.features(theta, empty)
    assert found.a_support.shape == (2, 4, 0, head.body.n_features)
    assert_allclose(found.a_query, head.features(theta, episode).a_query)


@EACH
def test_the_way_back_is_torchs_gradient(hidden):
    head, theta, episode = case(hidden)
    rng = np.random.default_rng(3)
    found = head.features(theta, episode)
    # any weights of a = Lambda'z, and of the predictors at three u
    phases = rng.normal(size=(2, 4, 3, head.factor_mask.shape[1]))
    whitened, pulls = {}, {}
    for part in ("support", "query"):
        whitened[part] = rng.normal(size=getattr(found, f"a_{part}").shape)
        pulls[part] = rng.normal(size=(*whitened[part].shape[:-1], 3))
    graph = tensors(theta)
    like = type(episode)(*(torch.tensor(part) for part in vars(episode).values()))
    rows, total = head.features(graph, like), 0.0
    for part in whitened:
        a, mean = getattr(rows, f"a_{part}"), getattr(rows, f"mean_{part}")
        predictor = mean[..., None] + a @ torch.tensor(phases).mT
        total = total + (torch.tensor(whitened[part]) * a).sum()
        total = total + (torch.tensor(pulls[part]) * predictor).sum()
    total.backward()
    grad = MetaParams(head.shapes)
    support, query = (RowCotangents(pulls[part], whitened[part]) for part in whitened)
    head.backward(theta, found, phases, support, query, grad)
    for name in theta:
        exact = graph[name].grad.numpy()
        if name == "factor":
            exact = exact * head.factor_mask
        assert_allclose(grad[name], exact, atol=1e-10, err_msg=name)


def test_a_head_of_classes_or_counts_has_no_noise():
    head = LinearHead(MLPBody(2), np.eye(3, dtype=bool), 4)
    theta = MetaParams(head.shapes)
    assert list(head.shapes) == ["omega", "factor"]
    before = theta.vector.copy()
    head.write_noise(theta, 1, 2.0)
    assert_array_equal(theta.vector, before)
    assert_array_equal(head.noise(theta), np.zeros(4))
