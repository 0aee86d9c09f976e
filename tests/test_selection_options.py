"""The record of what `learn` needs to know."""

import dataclasses
import pickle

from skcml import CMLRegressor
from skcml.likelihoods import Categorical, Poisson
from skcml.selection import LearnOptions
from skcml.selection.families import ClassesOrCounts
from tests.builders import learn_options


def test_every_option_is_a_parameter_of_the_estimator():
    names = {field.name for field in dataclasses.fields(LearnOptions)}
    assert names - {"family", "fit_solver"} <= set(CMLRegressor().get_params())


def test_options_travel_to_other_processes():
    options = learn_options(hidden_layer_sizes=(3, 2), n_shots=(2, 5))
    assert pickle.loads(pickle.dumps(options)) == options


def test_coupled_logits_have_one_verdict():
    assert learn_options().n_scores(3) == 3
    assert learn_options(family=ClassesOrCounts(Poisson())).n_scores(3) == 3
    assert learn_options(family=ClassesOrCounts(Categorical())).n_scores(3) == 1


def test_a_squared_loss_is_one_of_numbers():
    assert not learn_options().is_squared
    assert learn_options(meta_loss="loss").is_squared
    assert not learn_options(meta_loss="loss", family=ClassesOrCounts(Poisson())).is_squared


def test_without_steps_the_mixed_model_is_all_that_is_asked_for():
    assert learn_options(meta_max_iter=0).is_reml
    assert not learn_options(meta_max_iter=1).is_reml
