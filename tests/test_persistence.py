"""Saved estimators that somebody or something has changed, and those that older formats wrote."""

import copy
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skcml import CMLClassifier, CMLRegressor
from skcml.persistence import FORMAT
from tests import saved
from tests.saved import EXAMPLES, FIXTURES, load, predictions, rewrite

CONFIG, ARRAYS = "config.json", "model.safetensors"
FOLDERS = sorted(path for path in FIXTURES.glob("format_*/*") if path.is_dir())
# Without networks of one's own, which take longer.
QUICK = [name for name in EXAMPLES if not name.startswith("body")]
FUZZ = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def kind_of(folder):
    name = json.loads((folder / CONFIG).read_text())["class"]
    return {"CMLRegressor": CMLRegressor, "CMLClassifier": CMLClassifier}[name]


# --- what has been written stays readable


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_format_has_written_is_read_for_ever(folder):
    estimator = load(kind_of(folder), folder, folder.name)
    x, groups = saved.asked(folder.name)
    expected = np.array(json.loads((folder / "predictions.json").read_text()))
    assert_allclose(predictions(estimator, x, groups), expected, rtol=1e-7, atol=1e-9)
    # It adapts as one that has just learned: no argument is lacking.
    y = np.where(np.arange(len(x)) % 2, 1.0, 2.0)
    if isinstance(estimator, CMLClassifier):
        y = np.resize(estimator.classes_[:2], len(x))
    elif estimator._adapted.targets.n_outputs == 2:
        y = np.column_stack([y, y])
    estimator.fit(x, y)


def test_every_example_of_this_format_has_been_written():
    names = {folder.name for folder in FOLDERS if folder.parent.name == f"format_{FORMAT}"}
    assert names == set(EXAMPLES)
    formats = {f"format_{version}" for version in range(1, FORMAT + 1)}
    assert {folder.parent.name for folder in FOLDERS} == formats


# --- changes that are seen


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Folders of all quick examples, with what they are and what they predict."""
    root = tmp_path_factory.mktemp("originals")
    found = {}
    for name in QUICK:
        estimator, x, groups = EXAMPLES[name]()
        estimator.save_pretrained(root / name)
        found[name] = (root / name, type(estimator), x, groups, predictions(estimator, x, groups))
    return found


@pytest.fixture
def changed(originals, tmp_path):
    """Return a function that copies an example."""

    def copied(name):
        folder, *rest = originals[name]
        target = tmp_path / name
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(folder, target)), *rest

    return copied


def is_refused(folder, kind, x, groups, expected):
    """Load; whatever does not say which file was changed must predict as before."""
    try:
        estimator = kind.from_pretrained(folder)
    except ValueError as error:
        if str(folder) not in str(error):
            raise
        return True
    assert_array_equal(predictions(estimator, x, groups), expected)
    return False


@FUZZ
@given(data=st.data())
def test_a_flipped_bit_is_seen(changed, data):
    folder, *rest = changed(data.draw(st.sampled_from(QUICK)))
    path = folder / data.draw(st.sampled_from([CONFIG, ARRAYS]))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    # In the text, it may be the space between two parts that has become another.
    assert is_refused(folder, *rest) or path.name == CONFIG


@FUZZ
@given(data=st.data())
def test_a_file_that_is_cut_or_longer_is_seen(changed, data):
    folder, *rest = changed(data.draw(st.sampled_from(QUICK)))
    path = folder / data.draw(st.sampled_from([CONFIG, ARRAYS]))
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut] + data.draw(st.binary(max_size=20)))
    is_same = path.read_bytes().strip() == content.strip()
    assert is_refused(folder, *rest) or is_same


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["Heads", "Scaling", "tuple", "array", "adapted", "meta", "str"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["tuple", "dict", "array", "labels", "same", "given", "Heads", "x"])
            | st.text(max_size=3),
            inner,
            max_size=2,
        )
    ),
    max_leaves=5,
)


def places(node, way=()):
    """Return the ways to all parts of JSON."""
    yield way
    if isinstance(node, (dict, list)):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield from places(node[key], (*way, key))


def mutate(config, data):
    """Put something else in one place of a configuration, or take it out."""
    ways = [way for way in places(config) if way and way[0] not in ("sha256", "format")]

    def inside(way):
        node = config
        for key in way:
            node = node[key]
        return node

    way = data.draw(st.sampled_from(ways))
    node, key = inside(way[:-1]), way[-1]
    action = data.draw(st.sampled_from(["replace", "remove", "another", "rename"]))
    if action == "remove":
        del node[key]
    elif action == "replace":
        node[key] = data.draw(JSON)
    elif action == "another":  # from elsewhere in the same file
        node[key] = copy.deepcopy(inside(data.draw(st.sampled_from(ways))))
    elif isinstance(node, dict):
        node[data.draw(st.sampled_from(["Heads", "tuple", "x", "Adam"]))] = node.pop(key)


@FUZZ
@given(data=st.data())
def test_a_changed_configuration_is_seen(changed, data):
    folder, *rest = changed(data.draw(st.sampled_from(QUICK)))
    config = json.loads((folder / CONFIG).read_text())
    before = copy.deepcopy(config)
    mutate(config, data)
    (folder / CONFIG).write_text(json.dumps(config))
    assert is_refused(folder, *rest) or config == before


@settings(FUZZ, max_examples=100)
@given(data=st.data())
def test_what_was_forged_is_refused_or_predicts_something(changed, data):
    # The checksum is the right one: what is seen is seen by what there is.
    folder, kind, x, groups, _ = changed(data.draw(st.sampled_from(QUICK)))
    rewrite(folder, lambda config: mutate(config, data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numbers may be anything now, and overflow
        try:
            estimator = kind.from_pretrained(folder)
        except ValueError as error:
            if str(folder) not in str(error):
                raise
            return
        try:
            found = predictions(estimator, x, groups)
        except (ValueError, TypeError):  # as of groups that are others now
            return
    assert found.dtype == float


# --- each in its own words


def meta(config):
    return config["meta"]["GroupsState"]


def learned(config):
    return meta(config)["learned"]["Learned"]


def adapted(config):
    return config["adapted"]["Adapted"]


def member(config, name):
    return next(value for key, value in learned(config)["members"]["dict"] if key == name)


def linear(config):
    return member(config, "mixed_model")["Heads"]


DO_NOT_GO = "whose arrays do not go together"
FORGED = {
    "class of the state": (
        lambda c: c.update(meta=meta(c)["scaling"]),
        r"meta is of type Scaling, .* where there must be",
    ),
    "no state": (lambda c: c.update(meta=None, adapted=None), "nothing has been learned"),
    "code": (lambda c: c.update(meta={"os.system": "true"}), r"meta is a 'os\.system', which is"),
    "an argument more": (
        lambda c: meta(c).update(surprise=1),
        "meta is a GroupsState, which has no 'surprise'; a later version of skcml may",
    ),
    "an argument less": (lambda c: meta(c).pop("metric"), "meta is a GroupsState without metric"),
    "a number as text": (
        lambda c: meta(c).update(n_rows="30"),
        r"meta\.n_rows is of type str, '30', where there must be int",
    ),
    "no number": (
        lambda c: meta(c)["scaling"]["Scaling"].update(rate={"float": "nan"}),
        r"meta\.scaling\.rate is of type float, nan",
    ),
    "another array": (
        lambda c: linear(c).update(omega=linear(c)["noise"]),
        f"is a Heads {DO_NOT_GO}",
    ),
    "a body too wide": (
        lambda c: linear(c)["body"]["MLPBody"].update(n_inputs=10**12),
        f"is a Heads {DO_NOT_GO}",
    ),
    "an activation": (
        lambda c: linear(c)["body"]["MLPBody"].update(activation=3),
        r"activation is of type int, 3, where there must be str",
    ),
    "a likelihood": (
        lambda c: linear(c).update(likelihood={"GaussNewton": {}}),
        r"likelihood is of type GaussNewton, .* where there must be",
    ),
    "features": (
        lambda c: c["attributes"].update(n_features_in_=10**9),
        "n_features_in_ says 1000000000 features, and there are 2",
    ),
    "an attribute": (
        lambda c: c["attributes"].update(predict="x"),
        "an attribute 'predict' is nothing that is kept",
    ),
    "a parameter": (lambda c: c["params"].update(tol=-1.0), "The 'tol' parameter of CMLRegressor"),
    "a parameter of a later version": (
        lambda c: c["params"].update(later=1),
        "CMLRegressor has no parameter 'later'; a later version of skcml may",
    ),
    "a parameter that nobody knows": (
        lambda c: meta(c)["params"]["dict"].append(["__dict__", 1]),
        "CMLRegressor has no parameter '__dict__'",
    ),
    "parameters": (lambda c: c.update(params=[]), r"its entry 'params' is \[\], and no dict"),
    "groups": (lambda c: adapted(c).update(groups=None), f"adapted is a Adapted {DO_NOT_GO}"),
    "labels that cannot be labels": (
        lambda c: adapted(c)["groups"]["GroupIndex"].update(labels={"labels": ["object", [[1]]]}),
        "unhashable",
    ),
    "members": (
        lambda c: learned(c).update(members={"dict": []}),
        f"meta is a GroupsState {DO_NOT_GO}",
    ),
    "a body": (lambda c: c.update(body={}), "pass body="),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_was_forged_is_named(changed, name):
    change, message = FORGED[name]
    folder, kind, *_ = changed("numbers")
    rewrite(folder, change)
    with pytest.raises(ValueError, match=message) as caught:
        kind.from_pretrained(folder)
    assert str(folder / CONFIG) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_parameter_that_an_older_version_did_not_have_takes_its_default(changed):
    folder, kind, x, groups, expected = changed("numbers")

    def forget(config):
        del config["params"]["support"]
        pairs = meta(config)["params"]["dict"]
        pairs[:] = [pair for pair in pairs if pair[0] != "support"]

    rewrite(folder, forget)
    estimator = kind.from_pretrained(folder)
    assert estimator.support == "random"
    assert_array_equal(predictions(estimator, x, groups), expected)
    estimator.set_params(support="first")
    with pytest.raises(ValueError, match="support was 'random' when meta_fit was called"):
        estimator.fit(x[:4], saved.Y[:4])


def test_networks_of_immense_size_are_refused_before_they_take_memory(changed):
    folder, kind, *_ = changed("synaptic")

    def widen(config):
        problem = member(config, "networks")["TaskNetworks"]["problem"]["ProximalProblem"]
        problem["network"]["TaskMLP"]["hidden_layer_sizes"] = {"tuple": [10**6, 10**6]}

    rewrite(folder, widen)
    with pytest.raises(ValueError, match=f"is a TaskNetworks {DO_NOT_GO}"):
        kind.from_pretrained(folder)


def test_classes_must_be_as_many_as_there_are(changed):
    folder, kind, *_ = changed("pool")
    rewrite(folder, lambda c: c["adapted"]["AdaptedClasses"].update(n_classes=10**9))
    with pytest.raises(ValueError, match="classes_ are not the 1000000000 classes"):
        kind.from_pretrained(folder)
