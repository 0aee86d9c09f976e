"""`compile=True` of the estimators: the same results, and sentences where there is nothing in it.

One test compiles in earnest, a small network, and takes as long as the C++ compiler does.
"""

import functools
import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone

from skcml import CMLClassifier, CMLRegressor
from skcml.solvers import compiled
from skcml.solvers.adam import Adam

GROUPS = np.repeat(np.arange(12), 6)
X = np.random.default_rng(0).normal(size=(72, 1))
Y = np.sin(2 * X[:, 0]) * (1 + GROUPS % 3)
SMALL = {
    "model": "synaptic",
    "solver": "adam",
    "hidden_layer_sizes": (3,),
    "n_shots": (2, 3),
    "n_queries": 3,
    "meta_max_iter": 3,
    "inner_max_iter": 8,
    "early_stopping": False,
    "random_state": 0,
}


def learned(**params):
    return CMLRegressor(**{**SMALL, **params}).meta_fit(X, Y, groups=GROUPS)


@pytest.fixture
def calls(monkeypatch):
    """Let torch follow calls, but not compile; return what it was asked to compile."""
    found, plain = [], torch.compile

    def compile(function, **options):
        found.append(function)
        return plain(function, **options, backend="eager")

    forget()
    monkeypatch.setattr(torch, "compile", compile)
    yield found
    forget()


def forget():
    compiled._compiled.cache_clear()
    compiled.check_compiler.cache_clear()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_compiled_in_earnest_it_learns_the_same():
    forget()
    plain, fast = learned(), learned(compile=True)
    assert compiled._compiled.cache_info().currsize == 1
    for name, array in plain.meta_params_["networks"].items():
        assert_allclose(fast.meta_params_["networks"][name], array, rtol=1e-8, atol=1e-8)
    for est in (plain, fast):
        est.fit(X[:4], Y[:4])
    assert_allclose(fast.predict(X), plain.predict(X), rtol=1e-8, atol=1e-8)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_compiles_nothing_and_compile_may_change(calls):
    est = learned(compile=True)
    before = len(calls)
    assert before == 2  # the trial, and the iteration
    assert est._meta.learned.members["networks"].solver == Adam(8)
    for copy in (est, clone(est), pickle.loads(pickle.dumps(est))):
        copy.fit(X[:4], Y[:4])
        copy.set_params(compile=False).fit(X[:4], Y[:4])
    assert len(calls) == before
    # Without meta_fit it is one of the parameters that there is no word about.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CMLRegressor(compile=True).fit(X, Y)


def test_exchangeable_classes_are_compiled_too(calls):
    rng = np.random.default_rng(1)
    classes = np.repeat(np.arange(6), 5)
    rows = rng.normal(size=(6, 2))[classes] + 0.1 * rng.normal(size=(30, 2))
    params = {**SMALL, "n_shots": 2, "n_ways": 3}
    plain, fast = (
        CMLClassifier(**params, compile=compile).meta_fit(rows, classes)
        for compile in (False, True)
    )
    assert len(calls) == 2
    for name, array in plain.meta_params_["networks"].items():
        assert_allclose(fast.meta_params_["networks"][name], array, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "params",
    [{"model": "head", "solver": "auto"}, {"solver": "auto"}, {"solver": "lbfgs"}],
    ids=str,
)
def test_where_nothing_is_compiled_it_says_so(calls, params):
    message = r"compile=True has no effect here: .* this is solver='\w+' with model='\w+'"
    with pytest.warns(UserWarning, match=message):
        learned(compile=True, **params)
    assert calls == []


def test_classes_without_a_network_say_so_too(calls):
    est = CMLClassifier(compile=True, meta_max_iter=1, early_stopping=False, random_state=0)
    with pytest.warns(UserWarning, match="compile=True has no effect here"):
        est.meta_fit(X, GROUPS)
    assert calls == []


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_a_compiler_what_was_learned_is_kept(monkeypatch):
    est = learned(random_state=1).fit(X[:4], Y[:4])
    before = est.predict(X)

    def backend(graph, _):
        raise FileNotFoundError("g++")

    forget()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    with pytest.raises(ValueError, match=r"compile=True, but .*g\+\+.* set compile=False"):
        est.set_params(compile=True).meta_fit(X, -Y, groups=GROUPS)
    assert_allclose(est.predict(X), before, rtol=0)
    forget()
