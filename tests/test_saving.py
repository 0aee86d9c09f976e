"""`save_pretrained` and `from_pretrained`: every state comes back bit for bit."""

import datetime
import decimal
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.exceptions import NotFittedError

import skcml
from skcml import CMLClassifier, CMLRegressor
from tests import saved
from tests.estimators import both, grouped, learned, learned_classifier, learned_pool, quick
from tests.fitted_classifiers import EACH, fitted
from tests.test_privacy_and_persistence import KINDS, values_in
from tests.test_privacy_and_persistence import fitted as fitted_regressor

X, Y, GROUPS = grouped()
NEW_X, NEW_Y, NEW_GROUPS = grouped(seed=1)
ROOT = Path(skcml.__file__).parents[1]


def loaded(estimator, folder, **options):
    estimator.save_pretrained(folder)
    return type(estimator).from_pretrained(folder, **options)


def assert_same_params(one, other):
    params, others = one.get_params(), other.get_params()
    params.pop("body"), others.pop("body")
    assert params == others


# --- states


@pytest.mark.parametrize("kind", KINDS)
def test_regressors_come_back_bit_for_bit(kind, tmp_path):
    estimator, groups = fitted_regressor(kind)
    found = loaded(estimator, tmp_path)
    assert_array_equal(both(found, X, groups=groups), both(estimator, X, groups=groups))
    assert_array_equal(
        found.predict_quantiles(X, groups=groups), estimator.predict_quantiles(X, groups=groups)
    )
    assert_same_params(found, estimator)
    assert set(vars(found)) == set(vars(estimator))
    y = estimator.predict(NEW_X, groups=groups)
    for one in (found.fit(X, y), estimator.fit(X, y)):
        assert one._adapted.groups is None
    assert_array_equal(both(found, X), both(estimator, X))


@EACH
def test_classifiers_come_back_bit_for_bit(setting, tmp_path):
    estimator, x, y, groups = fitted(setting)
    found = loaded(estimator, tmp_path)
    assert_array_equal(
        found.predict_proba(x, groups=groups), estimator.predict_proba(x, groups=groups)
    )
    assert_array_equal(found.predict(x, groups=groups), estimator.predict(x, groups=groups))
    assert_array_equal(found.classes_, estimator.classes_)
    assert set(vars(found)) == set(vars(estimator))
    half = np.arange(len(x)) % 2 == 0
    known = None if groups is None else groups[half]
    for one in (found, estimator):
        one.fit(x[half], y[half], groups=known)
    assert_array_equal(
        found.predict_proba(x[half], groups=known), estimator.predict_proba(x[half], groups=known)
    )


@pytest.mark.parametrize("name", saved.EXAMPLES)
def test_every_kind_of_state_comes_back_bit_for_bit(name, tmp_path):
    estimator, x, groups = saved.EXAMPLES[name]()
    estimator.save_pretrained(tmp_path)
    found = saved.load(type(estimator), tmp_path, name)
    assert_array_equal(saved.predictions(found, x, groups), saved.predictions(estimator, x, groups))
    assert_same_params(found, estimator)
    # And once more: what was loaded is saved as the same.
    again = tmp_path / "again"
    found.save_pretrained(again)
    for file in ("model.safetensors", "config.json"):
        assert (again / file).read_bytes() == (tmp_path / file).read_bytes()


@pytest.mark.parametrize("make", [learned, learned_classifier, learned_pool])
def test_what_meta_fit_left_behind_comes_back(make, tmp_path):
    estimator = make()
    found = loaded(estimator, tmp_path)
    assert set(vars(found)) == set(vars(estimator))
    assert found.meta_gain_ == estimator.meta_gain_
    assert found.meta_history_ == estimator.meta_history_
    assert found.n_meta_iter_ == estimator.n_meta_iter_
    np.testing.assert_equal(found.meta_params_, estimator.meta_params_)
    np.testing.assert_equal(
        dict(found.prior_summary(as_frame=False)), dict(estimator.prior_summary(as_frame=False))
    )


def test_what_was_one_object_is_one_again(tmp_path):
    found = loaded(learned().fit(NEW_X, NEW_Y), tmp_path)
    heads = found._meta.learned.members["networks"]
    assert any(posterior.heads is heads for posterior, _ in found._adapted.known.parts)
    classifier = learned_pool()
    new, labels = saved.X, saved.WORDS
    classifier.fit(np.column_stack([new, new]), labels)
    found = loaded(classifier, tmp_path)
    assert found._adapted.learned is found._meta.learned


def test_a_clone_is_saved_without_what_fit_knows(tmp_path):
    estimator = learned().fit(NEW_X, NEW_Y, groups=[f"secret {g}" for g in NEW_GROUPS])
    clone(estimator).save_pretrained(tmp_path)
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())
    found = CMLRegressor.from_pretrained(tmp_path)
    assert_array_equal(both(found, X), both(learned(), X))


def test_parameters_set_after_fit_are_kept_as_they_are(tmp_path):
    estimator = learned().fit(NEW_X, NEW_Y)
    before = both(estimator, X)
    estimator.set_params(prior_strength=9.0, n_jobs=2, random_state=np.int64(7), n_shots=3)
    found = loaded(estimator, tmp_path)
    assert_same_params(found, estimator)
    assert_array_equal(both(found, X), before)
    with pytest.raises(ValueError, match="n_shots was None when meta_fit was called"):
        found.fit(NEW_X, NEW_Y)
    found.set_params(n_shots=None)
    estimator.set_params(n_shots=None)
    assert_array_equal(both(found.fit(X, Y), X), both(estimator.fit(X, Y), X))


def test_what_was_set_after_fit_is_no_hindrance_unless_it_may_not_be(tmp_path):
    frame = pd.DataFrame({"who": GROUPS, "one": X[:, 0], "two": X[:, 1]})
    estimator = quick(group_column="who").meta_fit(frame, Y).fit(frame[:30], Y[:30])
    estimator.set_params(group_column=None)
    found = loaded(estimator, tmp_path)
    with pytest.raises(ValueError, match="group_column was 'who' when meta_fit was called"):
        found.fit(frame, Y)
    assert_array_equal(
        both(found.set_params(group_column="who"), frame),
        both(estimator.set_params(group_column="who"), frame),
    )
    estimator.set_params(tol=-1)
    with pytest.raises(ValueError, match="The 'tol' parameter of CMLRegressor must be"):
        estimator.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_parameters_of_numpy_come_back_as_pythons(tmp_path):
    estimator = quick(
        hidden_layer_sizes=np.array([4]), beta=np.float64(0.3), meta_max_iter=np.int32(2)
    )
    estimator.meta_fit(X, Y, groups=GROUPS)
    found = loaded(estimator, tmp_path)
    assert_array_equal(found.hidden_layer_sizes, [4])
    assert (found.beta, found.meta_max_iter) == (0.3, 2)
    assert_array_equal(both(found.fit(NEW_X, NEW_Y), X), both(estimator.fit(NEW_X, NEW_Y), X))


def test_callbacks_and_requests_are_not_saved(tmp_path):
    estimator = learned()
    estimator.set_callbacks(ProgressBar())
    found = loaded(estimator, tmp_path)
    assert not hasattr(found, "_skl_callbacks")
    assert_array_equal(both(found, X), both(estimator, X))


# --- labels


@pytest.mark.parametrize(
    "label",
    [
        lambda g: int(g),
        lambda g: f"group {g}",
        lambda g: ("a", int(g), (1.5, None is None)),
        lambda g: g / 3,
        lambda g: bool(g % 2),
        lambda g: datetime.date(2024, 1, 1 + g),
        lambda g: datetime.datetime(2024, 1, 1, g, tzinfo=datetime.UTC),
        lambda g: pd.Timestamp(2024, 1, 1 + g),
        lambda g: pd.Timestamp(2024, 1, 1 + g, tz="Asia/Tokyo"),
        lambda g: pd.Timedelta(hours=int(g)),
        lambda g: 10**30 + int(g),
        lambda g: int(g) if g % 2 else f"group {g}",
        lambda g: np.str_(g),
    ],
)
def test_labels_of_groups_come_back(label, tmp_path):
    labels = [label(g) for g in NEW_GROUPS]
    estimator = learned().fit(NEW_X, NEW_Y, groups=labels)
    found = loaded(estimator, tmp_path)
    assert_array_equal(both(found, NEW_X, groups=labels), both(estimator, NEW_X, groups=labels))
    assert_array_equal(found.group_effects(), estimator.group_effects())


@pytest.mark.parametrize(
    "dtype", ["datetime64[D]", "datetime64[s]", "datetime64[ns]", "timedelta64[m]"]
)
def test_arrays_of_dates_and_durations_come_back(dtype, tmp_path):
    labels = (NEW_GROUPS + 3).astype(dtype)
    estimator = learned().fit(NEW_X, NEW_Y, groups=labels)
    found = loaded(estimator, tmp_path)
    assert found._adapted.groups.labels.dtype == labels.dtype
    assert_array_equal(both(found, NEW_X, groups=labels), both(estimator, NEW_X, groups=labels))


@pytest.mark.parametrize(
    "label",
    [
        lambda g: decimal.Decimal(int(g)),
        lambda g: uuid.UUID(int=int(g)),
        lambda g: bytes([g]),
        lambda g: frozenset([int(g)]),
        lambda g: ("a", bytes([g])),
    ],
)
def test_labels_that_cannot_be_kept_are_refused_and_the_folder_stays(label, tmp_path):
    estimator = learned().fit(NEW_X, NEW_Y, groups=[label(g) for g in NEW_GROUPS])
    message = r"^groups\.0(\.1)? holds .* cannot be saved.* Pass such labels to fit, or save clone"
    with pytest.raises(TypeError, match=message):
        estimator.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    clone(estimator).save_pretrained(tmp_path)


@pytest.mark.parametrize(
    "classes",
    [np.array(["no", "yes"]), np.array(["no", "yes"], object), [0, 1], [False, True], [-1.0, 3.0]],
)
def test_labels_of_classes_come_back(classes, tmp_path):
    classes = np.asarray(classes)
    y = classes[(Y > 0).astype(int)]
    estimator = CMLClassifier(**saved.TINY).meta_fit(X, y, groups=GROUPS).fit(X[:30], y[:30])
    found = loaded(estimator, tmp_path)
    assert found.classes_.dtype.kind == estimator.classes_.dtype.kind
    assert_array_equal(found.predict(X), estimator.predict(X))


def test_names_of_columns_come_back(tmp_path):
    frame = pd.DataFrame(X, columns=["dose", "ä,\n"])
    estimator = quick().meta_fit(frame, Y, groups=GROUPS)
    found = loaded(estimator, tmp_path)
    assert_array_equal(found.feature_names_in_, frame.columns)
    assert_array_equal(both(found, frame), both(estimator, frame))
    with pytest.raises(ValueError, match="feature names"):
        found.predict(frame.rename(columns={"dose": "age"}))


def test_a_group_column_comes_back(tmp_path):
    frame = pd.DataFrame({"who": [f"p{g}" for g in GROUPS], "one": X[:, 0], "two": X[:, 1]})
    estimator = quick(group_column="who").meta_fit(frame, Y).fit(frame[:30], Y[:30])
    found = loaded(estimator, tmp_path)
    assert_array_equal(both(found, frame), both(estimator, frame))


def test_a_loss_that_is_no_number_comes_back(tmp_path):
    estimator = learned()
    estimator._meta.learned.histories[0]["loss"][0] = np.inf
    found = loaded(estimator, tmp_path)
    assert found.meta_history_[0]["loss"][0] == np.inf


# --- networks of one's own


def networks(seed=0, width=4):
    import torch
    from torch import nn

    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Linear(2, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, 3)
    )
    module[0].weight.requires_grad_(False)  # which no learning changes, and prediction needs
    return module


@pytest.fixture(scope="module")
def with_body():
    estimator = CMLRegressor(
        **{
            **saved.TINY,
            "model": "synaptic",
            "body": networks(),
            "inner_max_iter": 5,
            "inner_tol": 1,
        }
    )
    return estimator.meta_fit(X, Y, groups=GROUPS).fit(NEW_X, NEW_Y, groups=NEW_GROUPS)


def test_a_network_gets_its_weights_from_the_file(with_body, tmp_path):
    given = networks(seed=9)
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    found = loaded(with_body, tmp_path, body=given)
    assert_array_equal(both(found, X, groups=GROUPS), both(with_body, X, groups=GROUPS))
    assert found.body is not given
    for name, tensor in with_body.body.named_parameters():
        assert_array_equal(found.body.get_parameter(name).detach(), tensor.detach())
    for name, tensor in given.state_dict().items():
        assert_array_equal(tensor, before[name])
    assert_array_equal(
        both(found.fit(X[:9], Y[:9]), X), both(clone(with_body).fit(X[:9], Y[:9]), X)
    )


def test_a_class_or_a_function_makes_the_network(with_body, tmp_path):
    found = loaded(with_body, tmp_path, body=networks)
    assert_array_equal(both(found, X, groups=GROUPS), both(with_body, X, groups=GROUPS))
    found.fit(X[:9], Y[:9])  # and is no other network now


def test_a_network_that_nobody_wanted_is_asked_for_all_the_same(tmp_path):
    with pytest.warns(UserWarning, match="meta_fit has not been called"):
        estimator = CMLRegressor(body=networks().eval()[::2]).fit(X, Y)
    estimator.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="pass body="):
        CMLRegressor.from_pretrained(tmp_path)
    found = CMLRegressor.from_pretrained(tmp_path, body=networks(seed=3)[::2])
    assert_array_equal(both(found, X), both(estimator, X))


@pytest.mark.parametrize("is_grouped", [False, True])
def test_rows_keep_coming_after_loading(tmp_path, is_grouped):
    estimator = CMLRegressor(**saved.TINY).meta_fit(X, Y, groups=GROUPS)
    some = {"groups": NEW_GROUPS} if is_grouped else {}
    first, second = np.array_split(np.arange(len(NEW_Y)), 2)

    def add(one, rows):
        one.partial_fit(NEW_X[rows], NEW_Y[rows], **{k: v[rows] for k, v in some.items()})

    add(estimator, first)
    found = loaded(estimator, tmp_path)
    for one in (found, estimator):
        add(one, second)
    assert_array_equal(both(found, NEW_X, **some), both(estimator, NEW_X, **some))
    forgotten = NEW_GROUPS[0] if is_grouped else None
    for one in (found, estimator):
        one.forget(forgotten)
    assert_array_equal(both(found, NEW_X, **some), both(estimator, NEW_X, **some))


def test_the_wrong_network_is_refused(with_body, tmp_path):
    from torch import nn

    with_body.save_pretrained(tmp_path)
    other = networks()
    other[2] = nn.ReLU()
    for body, message in [
        (None, "pass body=, a torch.nn.Module with the same layers"),
        (networks(width=5), r"body is not the network that was saved: 0\.weight has the shape"),
        (networks()[:3], r"body is not the network that was saved: it lacks 3\.bias"),
        (nn.Linear(2, 3), r"it lacks 0\.bias and has bias"),
        (other, "does something else with them"),
        (nn.Linear(5, 3), r"body cannot take rows of shape \(2,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            CMLRegressor.from_pretrained(tmp_path, body=body)
    with pytest.raises(TypeError, match=r"body must be a torch\.nn\.Module"):
        CMLRegressor.from_pretrained(tmp_path, body=3)


@pytest.mark.parametrize("arguments", [{}, {"body__width": 5}])
def test_a_class_is_made_again_with_its_arguments(tmp_path, arguments):
    def make(width=3):
        return networks(width=width)[::2]

    estimator = CMLRegressor(**{**saved.TINY, "body": make, **arguments})
    estimator.meta_fit(X, Y, groups=GROUPS).fit(X[:5], Y[:5])
    estimator.save_pretrained(tmp_path)
    found = CMLRegressor.from_pretrained(tmp_path, body=make)
    assert_array_equal(both(found, X), both(estimator, X))
    assert set(found.get_params()) == set(CMLRegressor().get_params())
    assert_array_equal(both(found.fit(X[:7], Y[:7]), X), both(estimator.fit(X[:7], Y[:7]), X))


def test_a_device_is_refused_where_there_is_nothing_to_run_or_it_is_no_name(with_body, tmp_path):
    learned().save_pretrained(tmp_path / "none")
    with pytest.raises(
        ValueError, match=r"device='cpu' is where torch runs a body, .* leave device"
    ):
        CMLRegressor.from_pretrained(tmp_path / "none", device="cpu")
    with_body.save_pretrained(tmp_path / "body")
    with pytest.raises(TypeError, match="device must be a name that torch knows, or None; got 3"):
        CMLRegressor.from_pretrained(tmp_path / "body", body=networks(), device=3)


@pytest.mark.parametrize("folder", [3, None, float("nan"), b"x", ["a"], ""])
def test_what_is_no_path_is_refused(folder):
    with pytest.raises(TypeError, match="folder must be the path of a folder"):
        learned().save_pretrained(folder)


def test_a_body_that_is_not_asked_for_is_refused(tmp_path):
    learned().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="of an estimator without a body: leave body out"):
        CMLRegressor.from_pretrained(tmp_path, body=networks())


def test_a_network_may_run_elsewhere(with_body, tmp_path):
    found = loaded(with_body, tmp_path, body=networks(), device="cpu:0")
    assert found.device == "cpu:0"
    assert found._meta.learned.members["networks"].problem.device == "cpu:0"
    assert_array_equal(both(found, X, groups=GROUPS), both(with_body, X, groups=GROUPS))
    found.fit(NEW_X, NEW_Y)
    with pytest.raises(ValueError, match="device='nowhere' cannot be used by torch here"):
        CMLRegressor.from_pretrained(tmp_path, body=networks(), device="nowhere")


# --- what is refused


def test_there_must_be_something_to_save(tmp_path):
    for estimator in (CMLRegressor(), CMLClassifier()):
        with pytest.raises(NotFittedError, match="has learned nothing yet: call meta_fit, or fit"):
            estimator.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_generator_of_random_numbers_is_refused(tmp_path):
    estimator = learned().set_params(random_state=np.random.RandomState(0))
    with pytest.raises(TypeError, match=r"random_state=RandomState.* set it to an integer"):
        estimator.save_pretrained(tmp_path)
    estimator.set_params(random_state=None)
    assert loaded(estimator, tmp_path).random_state is None


def test_another_class_is_refused_by_name(tmp_path):
    learned().save_pretrained(tmp_path)
    message = "is of a CMLRegressor, and not of a CMLClassifier: call CMLRegressor.from_pretrained"
    with pytest.raises(ValueError, match=message):
        CMLClassifier.from_pretrained(tmp_path)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, None, "1"])
def test_the_limit_is_an_integer(wrong, tmp_path):
    learned().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="max_bytes must be an integer, zero or more"):
        CMLRegressor.from_pretrained(tmp_path, max_bytes=wrong)
    with pytest.raises(ValueError, match="and max_bytes is 100: if you trust it"):
        CMLRegressor.from_pretrained(tmp_path, max_bytes=100)


def test_a_subclass_comes_back_as_one(tmp_path):
    class Mine(CMLRegressor):
        pass

    estimator = Mine(**saved.TINY).meta_fit(X, Y, groups=GROUPS)
    assert type(loaded(estimator, tmp_path)) is Mine
    with pytest.raises(ValueError, match="is of a Mine"):
        CMLRegressor.from_pretrained(tmp_path)


# --- nothing but the files


ALONE = """
    import sys

    class Nothing:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("torch", "pandas"):
                raise ImportError(name)

    sys.meta_path.insert(0, Nothing())

    def refuse(event, arguments):
        if event.startswith(("socket.", "subprocess.", "os.system", "pickle.")):
            raise RuntimeError(event)

    import numpy as np
    from skcml import CMLRegressor

    sys.addaudithook(refuse)
    estimator = CMLRegressor.from_pretrained(sys.argv[1])
    table = np.load(sys.argv[2])
    np.save(sys.argv[3], estimator.predict(table, return_std=True))
    estimator.fit(table[:5], table[:5, 0])
"""


def test_it_loads_without_torch_pandas_pickle_and_network(tmp_path):
    estimator = learned().fit(NEW_X, NEW_Y)
    estimator.save_pretrained(tmp_path / "saved")
    np.save(tmp_path / "x.npy", X)
    paths = [str(tmp_path / name) for name in ("saved", "x.npy", "y.npy")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(ALONE), *paths],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert_array_equal(np.load(tmp_path / "y.npy"), both(estimator, X))


@pytest.mark.parametrize("kind", KINDS)
def test_no_training_value_is_in_the_files(kind, tmp_path):
    estimator, _ = fitted_regressor(kind)
    estimator.save_pretrained(tmp_path)
    blob = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    scaling = estimator._adapted.scaling
    for x, y in ((X, Y), (NEW_X, NEW_Y)):
        arrays = [x, y, -y, scaling.features(x), scaling.outputs(y[:, None])]
        values = np.unique(np.concatenate([np.ravel(a) for a in arrays]))
        assert values_in(blob, [values]) == 0
        assert not any(repr(value).encode() in blob for value in values.tolist())
