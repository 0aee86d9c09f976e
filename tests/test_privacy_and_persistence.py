"""What is in a saved estimator, and what it needs to come back."""

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
from numpy.testing import assert_array_equal

import skcml
from skcml import CMLRegressor
from tests.estimators import both, grouped, learned, quick
from tests.saved import EXAMPLES, predictions

X, Y, GROUPS = grouped()
NEW_X, NEW_Y, NEW_GROUPS = grouped(seed=1)
ROOT = Path(skcml.__file__).parents[1]


def fitted(kind):
    """Return an estimator and the groups that its predictions need."""
    return {
        "meta-fitted": lambda: (learned(), None),
        "one task": lambda: (learned().fit(NEW_X, NEW_Y), None),
        "groups": lambda: (learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS), GROUPS),
        "groups of one row": lambda: (learned().fit(NEW_X, NEW_Y, groups=np.arange(72)), GROUPS),
        "text labels": lambda: (
            learned().fit(NEW_X, NEW_Y, groups=[f"p{g}" for g in NEW_GROUPS]),
            [f"p{g}" for g in GROUPS],
        ),
        "two outputs": lambda: (
            learned(n_outputs=2).fit(NEW_X, np.column_stack([NEW_Y, -NEW_Y])),
            None,
        ),
        "updated": lambda: (learned().partial_fit(NEW_X, NEW_Y, groups=NEW_GROUPS), GROUPS),
        "ridge": lambda: (CMLRegressor().fit(X, Y), None),
        "ridge by group": lambda: (CMLRegressor().fit(X, Y, groups=GROUPS), GROUPS),
    }[kind]()


KINDS = ["meta-fitted", "one task", "groups", "groups of one row", "text labels", "two outputs"]
KINDS += ["updated", "ridge", "ridge by group"]


@pytest.mark.parametrize("kind", KINDS)
def test_saved_estimators_come_back_bit_for_bit(kind, tmp_path):
    estimator, groups = fitted(kind)
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    for loaded in (
        pickle.loads(pickle.dumps(estimator)),
        joblib.load(tmp_path / "estimator.joblib"),
    ):
        assert_array_equal(both(loaded, X, groups=groups), both(estimator, X, groups=groups))
        assert_array_equal(
            loaded.predict_quantiles(X, groups=groups),
            estimator.predict_quantiles(X, groups=groups),
        )
        assert loaded.get_params() == estimator.get_params()
        assert loaded.n_features_in_ == 2
    y = estimator.predict(NEW_X, groups=groups)
    for one in (loaded.fit(X, y), estimator.fit(X, y)):
        assert one._adapted.groups is None
    assert_array_equal(both(loaded, X), both(estimator, X))


# --- skops, which reads nothing that it is not told to trust


@pytest.mark.parametrize("name", [name for name in EXAMPLES if not name.startswith("body")])
def test_skops_saves_every_state_but_networks_of_ones_own(name):
    estimator, x, groups = EXAMPLES[name]()
    blob = skops.io.dumps(estimator)
    foreign = skops.io.get_untrusted_types(data=blob)
    assert foreign
    assert all(kind.startswith("skcml.") for kind in foreign)
    found = skops.io.loads(blob, trusted=foreign)
    assert_array_equal(predictions(found, x, groups), predictions(estimator, x, groups))
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException):
        skops.io.loads(blob)


# --- no training row is kept


def values_in(blob, arrays):
    """Count the float64 values of some arrays whose bytes are in a blob, at any place."""
    values = np.unique(np.concatenate([np.ravel(a) for a in arrays]).astype(float))
    return sum(value.tobytes() in blob for value in values)


def test_the_search_finds_values_that_are_there():
    estimator = learned()
    assert values_in(pickle.dumps(estimator), [X, Y]) == 0
    estimator.kept_ = np.stack([X[:, 0], Y])
    assert values_in(pickle.dumps(estimator), [X[:, 0], Y]) == 144


@pytest.mark.parametrize("kind", KINDS)
def test_no_training_value_is_in_the_file(kind):
    estimator, _ = fitted(kind)
    blob = pickle.dumps(estimator)
    scaling = estimator._adapted.scaling
    arrays = []
    for x, y in ((X, Y), (NEW_X, NEW_Y)):
        arrays += [x, y, -y, scaling.features(x), scaling.outputs(y[:, None])]
    assert values_in(blob, arrays) == 0


def test_no_value_of_the_validation_groups_is_in_the_file():
    estimator = quick().meta_fit(X, Y, GROUPS, X_val=NEW_X, y_val=NEW_Y, groups_val=NEW_GROUPS)
    scaling = estimator._meta.scaling
    arrays = [NEW_X, NEW_Y, scaling.features(NEW_X), scaling.outputs(NEW_Y[:, None])]
    assert values_in(pickle.dumps(estimator), [X, Y, *arrays]) == 0


def test_the_file_does_not_grow_with_the_rows():
    sizes = []
    for n_rows in (20, 200):
        x, y, groups = grouped(n_rows=n_rows)
        estimator = quick(early_stopping=False).meta_fit(x, y, groups=groups)
        sizes.append(len(pickle.dumps(estimator.fit(x, y, groups=groups))))
    assert sizes[1] < 1.05 * sizes[0]


def test_fitted_state_is_numpy_and_plain_types():
    estimator = learned().fit(NEW_X, NEW_Y, groups=NEW_GROUPS)
    modules = {
        module.split(".")[0] for module, *_ in _globals_of(pickle.dumps(estimator, protocol=2))
    }
    assert modules <= {
        "skcml",
        "numpy",
        "builtins",
        "copyreg",
        "__builtin__",
        "copy_reg",
        "_codecs",
    }


def _globals_of(blob):
    """Return what a pickle imports, of protocol 2 or less."""
    import pickletools

    return [
        argument.split(" ")
        for opcode, argument, _ in pickletools.genops(blob)
        if opcode.name == "GLOBAL"
    ]


# --- no torch, no network

OFFLINE = """
    import socket, sys

    class NoTorch:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "torch":
                raise AssertionError("torch was imported")

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    sys.meta_path.insert(0, NoTorch())
    socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

    import pickle
    import numpy as np
    from skcml import CMLRegressor

    estimator, x, y, groups = pickle.load(sys.stdin.buffer)
    estimator.fit(x, y, groups=groups)
    mean, std = estimator.predict(x, groups=groups, return_std=True)
    quantiles = estimator.predict_quantiles(x, groups=groups)
    CMLRegressor().fit(x, y).predict(x)
    assert "torch" not in sys.modules
    sys.stdout.buffer.write(pickle.dumps((mean, std, quantiles)))
"""


def test_a_loaded_estimator_adapts_and_predicts_without_torch_and_network():
    task = (learned(), NEW_X, NEW_Y, [f"p{g}" for g in NEW_GROUPS])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(OFFLINE)],
        input=pickle.dumps(task),
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    estimator = task[0].fit(NEW_X, NEW_Y, groups=task[3])
    mean, std, quantiles = pickle.loads(done.stdout)
    assert_array_equal([mean, std], both(estimator, NEW_X, groups=task[3]))
    assert_array_equal(quantiles, estimator.predict_quantiles(NEW_X, groups=task[3]))
