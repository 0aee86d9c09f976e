"""What notebooks show: the state of an estimator in words, and where it is documented."""

import html.parser
import pickle

import pytest
import sklearn
import sklearn.pipeline
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler

from skcml import CMLClassifier, CMLRegressor
from skcml.pipeline import make_pipeline
from tests.estimators import (
    grouped,
    labelled,
    learned,
    learned_classifier,
    learned_pool,
    pool,
    quick,
)

X, Y, GROUPS = grouped()
CAPTIONS = ("meta-fitted, not adapted", "meta-fitted, adapted", "fitted without meta_fit")


class Page(html.parser.HTMLParser):
    """What a reader sees of a page, and where its links lead; every tag has to be closed."""

    def __init__(self, source):
        super().__init__()
        self.words, self.links, self.open = [], [], []
        self.feed(source)
        assert self.open == ["body"] * self.open.count("body")

    def handle_starttag(self, tag, attributes):
        if tag not in ("br", "input", "path", "link", "meta"):
            self.open.append(tag)
        self.links += [value for name, value in attributes if name == "href"]

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data.strip())


def shown(estimator):
    return Page(estimator._repr_html_())


def captions(estimator):
    return [word for word in shown(estimator).words if word in CAPTIONS]


def test_the_state_is_said_in_words():
    alone, not_adapted, adapted, without = quick(), *CAPTIONS
    assert captions(alone) == []
    assert captions(CMLRegressor().fit(X, Y)) == [without]
    assert captions(learned()) == [not_adapted]
    assert captions(learned().fit(X, Y, groups=GROUPS)) == [adapted]
    assert captions(learned().fit(X[:3], Y[:3])) == [adapted]
    assert captions(clone(learned().fit(X, Y))) == [not_adapted]
    assert captions(pickle.loads(pickle.dumps(learned().fit(X, Y)))) == [adapted]


def test_the_state_of_classifiers():
    x, y, groups = labelled()
    not_adapted, adapted, without = CAPTIONS
    assert captions(CMLClassifier().fit(x, y)) == [without]
    assert captions(learned_classifier()) == [not_adapted]
    assert captions(learned_classifier().fit(x, y, groups=groups)) == [adapted]
    assert captions(learned_pool()) == [not_adapted]
    assert captions(learned_pool().fit(*pool())) == [adapted]


@pytest.mark.parametrize("make", [make_pipeline, sklearn.pipeline.make_pipeline])
def test_the_state_within_a_pipeline(make):
    pipeline = make(FrozenEstimator(StandardScaler().fit(X)), learned())
    not_adapted, adapted, _ = CAPTIONS
    assert captions(pipeline) == [not_adapted]
    assert captions(pipeline.fit(X, Y)) == [adapted]
    assert captions(FrozenEstimator(learned())) == [not_adapted]


def test_a_pipeline_that_has_learned_shows_its_transformers():
    page = shown(make_pipeline(StandardScaler(), quick()).meta_fit(X, Y, groups=GROUPS))
    words = " ".join(page.words)
    assert "standardscaler: FrozenTransformer" in words
    assert "Documentation for StandardScaler" in words
    assert CAPTIONS[0] in page.words
    assert "Not fitted" not in page.words
    changed = make_pipeline(StandardScaler(), quick()).meta_fit(X, Y, groups=GROUPS)
    assert "Not fitted" in shown(changed.set_params(standardscaler="passthrough")).words


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (CMLRegressor(), "skcml.CMLRegressor"),
        (CMLClassifier(), "skcml.CMLClassifier"),
        (make_pipeline(StandardScaler(), CMLRegressor()), "skcml.pipeline.Pipeline"),
    ],
)
def test_a_link_leads_to_the_documentation(estimator, name):
    page = shown(estimator)
    assert page.links[0] == f"https://skcml.readthedocs.io/en/latest/generated/{name}.html"
    assert f"Documentation for {name.rpartition('.')[2]}" in page.words
    ours = [link for link in page.links if "/skcml." in link]
    assert all(link.startswith("https://skcml.readthedocs.io/en/latest/") for link in ours)


def test_a_subclass_of_ones_own_has_no_link():
    class Mine(CMLRegressor):
        pass

    page = shown(Mine())
    assert "Mine" in page.words
    assert not [link for link in page.links if "generated/skcml.Mine" in link]


def test_without_scikit_learns_block_there_is_its_own_diagram(monkeypatch):
    estimator = learned()

    def gone():
        raise ImportError("moved")

    monkeypatch.setattr(estimator, "_sk_visual_block_", gone)
    assert captions(estimator) == []
    assert "CMLRegressor" in shown(estimator).words


def test_text_is_shown_where_diagrams_are_switched_off():
    with sklearn.config_context(display="text"):
        assert not hasattr(learned(), "_repr_html_")
        assert repr(learned()).startswith("CMLRegressor(")
