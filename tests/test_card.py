"""The card of a saved estimator."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skcml import CMLClassifier, CMLRegressor
from skcml.estimators._card import MAX_NAMES, card_of
from tests import saved
from tests.estimators import learned, learned_classifier, learned_pool


def code_of(card):
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return code


def test_it_says_what_was_learned_from_how_well_and_how_to_use_it():
    estimator, *_ = saved.EXAMPLES["numbers"]()
    lines = card_of(estimator, "milk").splitlines()
    assert lines[:4] == ["---", "library_name: skcml", "pipeline_tag: tabular-regression", "---"]
    assert "# CMLRegressor" in lines
    assert "Learned by `meta_fit` from 6 groups with 30 rows." in lines
    assert "- columns of X: 2, `dose`, `age | years`" in lines
    assert "- adapted by `fit` to 4 groups, whose labels are in these files" in lines
    assert "| on held-out groups | RMSE |" in lines
    for name, score in estimator.meta_gain_.items():
        assert f"| {name} | {score:.4g} |" in lines
    assert "Lower is better, in standard deviations of y: `meta_gain_`." in lines
    assert 'est = CMLRegressor.from_pretrained("milk")' in lines
    assert "est.predict(X, groups=groups)  # rows of what it was adapted to" in lines
    assert not any("group 0" in line for line in lines)  # labels are not for everybody


@pytest.mark.parametrize("name", saved.EXAMPLES)
def test_the_call_that_it_shows_works(name, tmp_path, monkeypatch):
    estimator, x, groups = saved.EXAMPLES[name]()
    estimator.save_pretrained(tmp_path / 'a "folder"')
    card = (tmp_path / 'a "folder"' / "README.md").read_text()
    y = saved.Y
    if name == "counts":
        y = abs(y)
    elif name == "two_outputs":
        y = np.column_stack([y, y])
    elif isinstance(estimator, CMLClassifier):
        y = np.resize(estimator.classes_[:2], len(x))
    monkeypatch.chdir(tmp_path)
    few = slice(0, 6)
    names = {"X": x, "groups": groups, "X_few": x[few], "y_few": y[few], "X_more": x[6:9]}
    exec(code_of(card), names | {"module": saved.module()})


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (learned(), "Learned by `meta_fit` from 12 groups with 72 rows."),
        (learned_classifier(), "| on held-out groups | log loss |"),
        (learned_classifier(), "- classes: 2, `a`, `b`"),
        (learned_pool(), "Learned by `meta_fit` from a pool of 16 classes with 128 rows, in whose"),
        (learned_pool(), "| on held-out classes | log loss |"),
        (CMLRegressor().fit(saved.X, saved.Y), "Fitted without `meta_fit`: nothing was learned"),
        (CMLRegressor().fit(saved.X, saved.Y), "- adapted by `fit` to one task"),
        (CMLRegressor(prior_strength=2.0).fit(saved.X, saved.Y), "`CMLRegressor(prior_strength=2."),
    ],
)
def test_it_knows_the_settings(estimator, words):
    assert words in card_of(estimator, "folder")


def test_after_meta_fit_alone_there_is_nothing_adapted():
    card = card_of(learned(), "folder")
    assert "adapted by" not in card
    assert "rows of what it was adapted to" not in card
    fitted = learned_pool()
    assert "classes:" not in card_of(clone(fitted), "folder")


def test_without_a_verdict_there_is_no_table():
    estimator, *_ = saved.EXAMPLES["two_outputs"]()
    assert "held-out" not in card_of(estimator, "folder")


def test_a_group_column_is_named():
    estimator, *_ = saved.EXAMPLES["column"]()
    assert "- group column, which is no feature: `0`" in card_of(estimator, "folder")


def test_many_names_are_not_all_listed_and_none_leaves_its_line():
    names = [f"column {i}" for i in range(40)]
    names[1] = "`\n# a heading"
    frame = pd.DataFrame(np.tile(saved.X, (1, 20)), columns=names)
    card = card_of(CMLRegressor().fit(frame, saved.Y), "folder")
    (line,) = [line for line in card.splitlines() if "columns of X" in line]
    assert line.startswith("- columns of X: 40, `column 0`, `' # a heading`, `column 2`")
    assert line.endswith(f"`column {MAX_NAMES - 1}` and {40 - MAX_NAMES} more")


def test_a_network_of_ones_own_shows_its_layers():
    estimator, *_ = saved.EXAMPLES["body"]()
    card = card_of(estimator, "folder")
    assert 'from_pretrained("folder", body=module)' in card
    assert "      (0): Linear(in_features=2, out_features=3, bias=True)" in card
    estimator.body = saved.module  # a function that makes it
    assert "    as passed as body=" in card_of(estimator, "folder")
