"""Tasks drawn for `meta_gradient_error`: whose, from which rows, and what is refused."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge

from skcml import CMLClassifier, CMLRegressor
from skcml.inspection._task_sample import sample_tasks
from tests.estimators import grouped, learned, linear, quick, quick_classifier
from tests.pipelines import learned_seller, sales, seller_by_hand

X, Y, GROUPS = grouped()


def sample(est, X=X, y=Y, groups=GROUPS, n_tasks=12, random_state=0):
    return sample_tasks(est, X, y, groups, n_tasks, random_state)


def rows_of(episode):
    """Return (x, y) of all rows that count, sorted."""
    rows = []
    for part in ("support", "query"):
        x, y, w = (getattr(episode, f"{name}_{part}") for name in "xyw")
        rows.append(np.concatenate([x, np.moveaxis(y, 0, -1)], axis=-1)[w > 0])
    rows = np.concatenate(rows)
    return rows[np.lexsort(rows.T)]


# --- whose meta-parameters


def test_of_the_network_of_the_first_fold_if_there_is_one():
    est = learned()
    found = sample(est)
    assert found.member == "networks"
    assert found.problem.body.hidden_layer_sizes == (4,)
    kept = est.meta_params_["networks"]
    assert len(kept["omega"]) > 1
    assert_allclose(found.theta["omega"], kept["omega"][0])
    assert_allclose(found.theta["factor"], kept["factor"][0])
    noise = np.exp(2 * found.theta["log_noise"]) + found.problem.noise_floor
    assert_allclose(noise, kept["noise"][0])


def test_else_of_the_mixed_model():
    est = linear().meta_fit(X, Y, groups=GROUPS)
    found = sample(est)
    assert found.member == "mixed_model"
    assert found.problem.body.hidden_layer_sizes == ()
    assert_allclose(found.theta["omega"], est.meta_params_["mixed_model"]["omega"][0])


@pytest.mark.parametrize("model", ["synaptic", "modulatory"])
def test_of_networks_for_each_task(model):
    est = quick(model=model, early_stopping=False, prior_strength=2.0).meta_fit(X, Y, groups=GROUPS)
    found = sample(est)
    assert found.member == "networks"
    assert_allclose(found.theta["omega"], est.meta_params_["networks"]["omega"][0])
    once = sample(est.set_params(prior_strength=1.0))
    assert_allclose(found.theta["log_strength"], once.theta["log_strength"] + np.log(2.0))


class Drawn(torch.nn.Module):
    """A body with constants that it draws."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
        self.register_buffer("constant", torch.randn(2))

    def forward(self, x):
        return self.linear(x) + self.constant


@pytest.mark.parametrize("model", ["head", "modulatory"])
def test_a_body_is_the_one_that_was_learned_with_the_constants_that_it_drew(model):
    est = quick(model=model, body=Drawn, early_stopping=False, random_state=None)
    est.meta_fit(X, Y, groups=GROUPS)
    learned_body = est._meta.learned.members["networks"]
    for found in (sample(est), sample(est.set_params(random_state=1))):
        if model == "head":
            function, expected = found.problem.body.function, learned_body.body.function
        else:
            function = found.problem.network.function
            expected = learned_body.problem.network.function
        assert torch.equal(function.module.constant, expected.module.constant)


def test_prior_strength_counts_as_in_fit():
    for est in (learned(), linear().meta_fit(X, Y, groups=GROUPS)):
        once = sample(est).theta
        fourfold = sample(est.set_params(prior_strength=4.0)).theta
        assert_allclose(fourfold["factor"], once["factor"] / 2)
        assert_array_equal(fourfold["omega"], once["omega"])


def test_what_is_done_to_theta_leaves_the_estimator_as_it_is():
    networks = quick(model="modulatory", early_stopping=False)
    for est in (learned(), networks.meta_fit(X, Y, groups=GROUPS)):
        before = est.predict(X, groups=GROUPS)
        sample(est).theta.vector[...] = 7.0
        assert_array_equal(est.predict(X, groups=GROUPS), before)
        assert (sample(est).theta.vector != 7.0).any()


# --- which rows


def test_rows_are_standardised_as_in_learning():
    rows = np.column_stack([X, Y])
    expected = (rows - rows.mean(0)) / rows.std(0)
    expected = expected[np.lexsort(expected.T)]
    assert_allclose(rows_of(sample(learned()).episode), expected)
    # By the rows of `meta_fit`, not by those that are given.
    found = sample(learned(), 3 * X + 1, 5 * Y)
    moved = (np.column_stack([3 * X + 1, 5 * Y]) - rows.mean(0)) / rows.std(0)
    assert_allclose(rows_of(found.episode), moved[np.lexsort(moved.T)])


def test_tasks_have_the_shots_and_queries_of_the_estimator():
    est = linear(n_shots=3, n_queries=2, support="first").meta_fit(X, Y, groups=GROUPS)
    for seed in range(4):  # by default, the number of shots is drawn
        found = sample(est, n_tasks=5, random_state=seed).episode
        assert found.w_support.shape == (5, 3)
    assert found.w_query.shape == (5, 2)
    assert_array_equal(found.w_support, 1)
    # The first rows of a group, and those after them.
    scaled = ((X - X.mean(0)) / X.std(0)).reshape(12, 6, 2)
    place = [abs(scaled[:, 0] - first).sum(1).argmin() for first in found.x_support[:, 0]]
    assert len(set(place)) == 5
    assert_allclose(found.x_support, scaled[place, :3])
    assert_allclose(found.x_query, scaled[place, 3:5])


def test_one_random_state_draws_the_same_tasks():
    def drawn(random_state):
        return sample(learned(), n_tasks=4, random_state=random_state).episode.x_support

    assert_array_equal(drawn(3), drawn(3))
    assert_array_equal(drawn(3), drawn(np.random.RandomState(3)))
    source = np.random.RandomState(3)
    assert not np.array_equal(drawn(source), drawn(source))
    assert not np.array_equal(drawn(3), drawn(4))


def test_groups_of_a_single_row_are_passed_over():
    groups = GROUPS.copy()
    groups[0] = 99
    found = sample(learned(), groups=groups, n_tasks=1000)
    assert len(found.episode.w_query) == 12
    assert len(rows_of(found.episode)) == 71


def test_groups_may_be_in_a_column():
    columns = np.column_stack([X, GROUPS])
    est = linear(group_column=2).meta_fit(columns, Y)
    found = sample(est, columns, groups=None)
    expected = sample(linear().meta_fit(X, Y, groups=GROUPS))
    assert_allclose(found.theta.vector, expected.theta.vector)
    assert_allclose(rows_of(found.episode), rows_of(expected.episode))


def test_from_rows_that_a_pipeline_makes():
    x, y, shops = sales(seed=1)
    pipeline, (encode, last) = learned_seller(), seller_by_hand()
    found = sample(pipeline, x, y, shops)
    expected = sample(last, encode.transform(x), y, shops)
    assert found.estimator is pipeline[-1]
    assert_allclose(found.theta.vector, expected.theta.vector)
    assert_allclose(rows_of(found.episode), rows_of(expected.episode))


# --- refusals

BAD = {
    "no groups": ({"groups": None}, "needs the group of each of the n_samples = 72 rows: pass gr"),
    "one group": ({"groups": np.zeros(72)}, "at least two groups .* got 1 in n_samples = 72"),
    "rows of their own": ({"groups": np.arange(72)}, "at least two groups .* got 0 .* Check group"),
    "y": ({"y": Y[:5]}, "y has 5 rows, but X has 72"),
    "columns": ({"X": X[:, :1]}, "has 1 features, but CMLRegressor is expecting 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_rows_from_which_no_task_can_be_drawn_are_refused(case):
    changed, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        sample(learned(), **changed)


@pytest.mark.parametrize("thing", [Ridge(), CMLRegressor, None])
def test_what_is_none_of_our_estimators_is_refused(thing):
    name = type(thing).__name__
    message = f"about CMLRegressor and CMLClassifier; got an estimator of type {name}"
    with pytest.raises(TypeError, match=message):
        sample(thing)


@pytest.mark.parametrize("make", [CMLRegressor, CMLClassifier])
def test_an_estimator_that_has_not_learned_is_refused(make):
    est = make()
    message = rf"This {make.__name__} has not learned yet.*: call meta_fit first\."
    with pytest.raises(ValueError, match=message):
        sample(est)
    # Nor is `fit` alone enough.
    with pytest.raises(ValueError, match=message):
        sample(est.fit(X, GROUPS % 2))


def test_exchangeable_classes_are_refused():
    est = quick_classifier(classes="exchangeable", meta_max_iter=0, early_stopping=False)
    est.meta_fit(X, GROUPS)
    with pytest.raises(ValueError, match=r"learned from exchangeable classes has no second deriv"):
        sample(est, y=GROUPS, groups=None)


def test_a_parameter_that_shaped_what_was_learned_may_not_have_changed():
    with pytest.raises(ValueError, match="n_shots was None when meta_fit was called and is 3 now"):
        sample(learned().set_params(n_shots=3))
    with pytest.raises(ValueError, match="prior_strength"):
        sample(learned().set_params(prior_strength=-1.0))
