"""Adam: its steps are those of the paper, and one that goes too far says so."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.solvers.adam import Adam
from tests.quadratics import Quadratics


def algorithm_1(problem, alpha, n_steps, beta=0.0, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Return the path that Kingma and Ba's algorithm 1 takes, with their constants."""
    theta = problem.start(None, None)
    m, v, path = 0.0, 0.0, [theta]
    for t in range(1, n_steps + 1):
        g = problem.gradient(theta, beta)
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
        theta = theta - alpha * m_hat / (np.sqrt(v_hat) + epsilon)
        path.append(theta)
    return np.stack(path)


@pytest.mark.parametrize("learning_rate", [0.01, 0.3])
@pytest.mark.parametrize("beta", [0.0, 0.5], ids=str)
def test_its_steps_are_those_of_algorithm_1(learning_rate, beta):
    problem = Quadratics.diagonal([[1.0, 20.0, 0.1], [3.0, 1e-3, 1e3]])
    expected = algorithm_1(problem, learning_rate, 8, beta)
    problem.seen.clear()
    Adam(8, learning_rate, tol=0.0)(problem, None, None, beta)
    assert_allclose(problem.seen, expected, rtol=1e-12, atol=1e-12)


def test_all_options_reach_the_optimiser_of_torch(monkeypatch):
    asked, plain = [], torch.optim.Adam
    monkeypatch.setattr(
        torch.optim, "Adam", lambda params, **options: asked.append(options) or plain(params)
    )
    Adam(max_iter=1, learning_rate=0.07)(Quadratics.diagonal([[1.0]]), None, None)
    assert asked == [{"lr": 0.07, "fused": True}]


def test_the_best_of_a_path_that_swings_is_returned():
    problem = Quadratics.diagonal([[1.0, 5.0], [2.0, 2.0]])
    found = Adam(30, 0.4, tol=0.0)(problem, None, None)
    path = np.stack(problem.seen)
    values = [problem.augmented(phi, None, None, 0.0)[0] for phi in path]
    best = np.argmin(values, axis=0)
    assert (best < 30).all()
    assert_allclose(found.phi, path[best, :, range(2)].transpose(1, 0, 2), rtol=0)


@pytest.mark.parametrize("learning_rate", [100.0, 1e200])
def test_a_learning_rate_that_is_too_large_is_not_silent(learning_rate):
    problem = Quadratics.diagonal([[1.0, 2.0], [1.0, 1.0]])
    problem.begin[:, 1] *= 1e5  # a step of a hundred is nothing there
    found = Adam(20, learning_rate)(problem, None, None)
    assert found.usable.tolist() == [False, learning_rate == 100.0]
    assert np.isfinite(found.phi).all()
