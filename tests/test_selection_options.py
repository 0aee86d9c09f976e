"""The record of what `learn` needs to know."""

import dataclasses
import pickle

from skcml import CMLRegressor
from skcml.selection import LearnOptions
from tests.builders import learn_options


def test_every_option_is_a_parameter_of_the_estimator():
    names = {field.name for field in dataclasses.fields(LearnOptions)}
    assert names - {"family"} <= set(CMLRegressor().get_params())


def test_options_travel_to_other_processes():
    options = learn_options(hidden_layer_sizes=(3, 2), n_shots=(2, 5))
    assert pickle.loads(pickle.dumps(options)) == options


def test_without_steps_the_mixed_model_is_all_that_is_asked_for():
    assert learn_options(meta_max_iter=0).is_reml
    assert not learn_options(meta_max_iter=1).is_reml
