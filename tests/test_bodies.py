"""A user's own network behind the estimators."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skcml import CMLClassifier, CMLRegressor, arrays
from skcml.datasets import make_sinusoid_tasks
from skcml.estimators._bodies import module_of

X, Y, GROUPS = make_sinusoid_tasks(12, 10, random_state=0)
LABELS = np.where(Y > 0, "up", "down")


def perceptron(*norms, n_inputs=1):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(n_inputs, 4), *norms, nn.Tanh())


def quick(make=CMLRegressor, **params):
    params = {"body": perceptron(), "meta_max_iter": 2, "early_stopping": False} | params
    return make(random_state=0, n_shots=4, **params)


def images(n_classes=6, n_each=8, seed=0):
    """Return images of bars, one place for each class, and their labels."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), n_each)
    x = 0.3 * rng.normal(size=(len(y), 1, 6, 6))
    x[np.arange(len(y)), 0, y % 6] += 1.0
    return x, y


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    )


class Net(nn.Module):
    """A layer of a width, by a start that torch draws, and a constant that it draws too."""

    def __init__(self, width=3, options=None):
        super().__init__()
        bias = True if options is None else options["bias"]
        self.linear = nn.Linear(1, width, bias=bias)
        self.register_buffer("constant", torch.rand(width))

    def forward(self, x):
        return torch.tanh(self.linear(x) + self.constant)


def perceptron_of_two():
    return nn.Sequential(nn.Linear(1, 2), nn.Tanh())


# --- made of a class and its arguments


@pytest.mark.parametrize("model", ["head", "modulatory", "synaptic"])
@pytest.mark.parametrize("make", [CMLRegressor, CMLClassifier])
def test_a_class_is_called_with_its_arguments(make, model):
    y = Y if make is CMLRegressor else LABELS
    estimator = quick(make, model=model, body=Net, body__width=5, body__options={"bias": False})
    networks = estimator.meta_fit(X, y, groups=GROUPS).meta_params_["networks"]
    n_features = {"head": 6, "modulatory": 6 + 5, "synaptic": 6 + 5}[model]
    assert networks["omega"].shape[-1] == n_features


@pytest.mark.parametrize("model", ["head", "synaptic"])
def test_of_new_classes_too(model):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 5)
    x = rng.normal(size=(6, 1))[y] + 0.1 * rng.normal(size=(30, 1))
    params = {"model": model, "body": Net, "body__width": 5, "classes": "exchangeable"}
    params |= {"n_ways": 2, "meta_batch_size": 1}
    first, again = (quick(CMLClassifier, **params).meta_fit(x, y) for _ in range(2))
    networks, others = (estimator.meta_params_["networks"] for estimator in (first, again))
    if model == "head":
        assert networks["body.linear.weight"].size == 5
    else:
        assert networks["omega"].size == 2 * 5 + 6  # the module and a head
    for name in networks:
        assert_array_equal(networks[name], others[name])


@pytest.mark.parametrize("model", ["head", "synaptic"])
def test_random_state_decides_the_start(model):
    """Only a rate of learning of nothing shows where the module started."""
    rate = {"meta_max_iter": 1, "meta_learning_rate": 1e-12}
    estimator = quick(model=model, body=Net, body__width=4, **rate)
    before = torch.get_rng_state()
    networks = estimator.meta_fit(X, Y, groups=GROUPS).meta_params_["networks"]
    assert torch.equal(torch.get_rng_state(), before)
    found = networks["body.linear.weight"] if model == "head" else networks["omega"][:, :4]
    assert_allclose(found.ravel(), module_of(estimator).linear.weight.detach().ravel(), atol=1e-7)


def test_random_state_decides_what_a_class_draws():
    def draw(source):
        return module_of(quick(body=Net).set_params(random_state=source)).constant

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    # Of a generator, and of the one of numpy, there is a next draw.
    for source in (np.random.RandomState(0), None):
        assert not torch.equal(draw(source), draw(source))
    assert torch.equal(draw(np.random.RandomState(0)), draw(0))
    made = perceptron()
    assert module_of(quick(body=made)) is made


def test_folds_start_alike():
    few = GROUPS < 4
    estimator = quick(body=Net, early_stopping=True, meta_max_iter=1, meta_learning_rate=1e-12)
    networks = estimator.meta_fit(X[few], Y[few], groups=GROUPS[few]).meta_params_["networks"]
    weight = networks["body.linear.weight"]
    assert len(weight) > 1
    assert_allclose(weight, np.tile(weight[:1], (len(weight), 1, 1)), atol=1e-9)


# --- groups


@pytest.mark.parametrize("model", ["head", "modulatory", "synaptic"])
@pytest.mark.parametrize("make", [CMLRegressor, CMLClassifier])
def test_groups_are_adapted_to_on_a_module(make, model):
    y = Y if make is CMLRegressor else LABELS
    estimator = quick(make, model=model).meta_fit(X, y, groups=GROUPS)
    networks = estimator.meta_params_["networks"]
    assert networks["omega"].shape[0] == 1
    estimator.fit(X[:5], y[:5])
    expected = estimator.predict(X[5:10])
    for other in (clone(estimator).fit(X[:5], y[:5]), pickle.loads(pickle.dumps(estimator))):
        assert_array_equal(other.predict(X[5:10]), expected)
    assert_array_equal(estimator.fit(X, y, groups=GROUPS).predict(X, groups=GROUPS).shape, len(X))


def test_the_module_is_copied_and_its_weights_are_the_start():
    module = perceptron()
    before = [p.detach().clone() for p in module.parameters()]
    estimator = quick(body=module, meta_max_iter=1, meta_learning_rate=1e-9)
    estimator.meta_fit(X, Y, groups=GROUPS)
    for p, was in zip(module.parameters(), before, strict=True):
        assert torch.equal(p, was)
    found = estimator.meta_params_["networks"]["body.0.weight"][0]
    assert_allclose(found, before[0], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_modules_of_any_precision_learn(dtype):
    estimator = quick(body=perceptron().to(dtype))
    estimator.meta_fit(X, Y, groups=GROUPS).fit(X[:5], Y[:5])
    assert np.isfinite(estimator.predict(X)).all()
    assert np.isfinite(estimator.meta_history_[0]["loss"]).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", ["modulatory", "synaptic"])
def test_batch_normalisation_knows_the_rows_of_the_group_alone(model):
    estimator = quick(body=perceptron(nn.BatchNorm1d(4)), model=model)
    estimator.meta_fit(X, Y, groups=GROUPS).fit(X[:5], Y[:5])
    together = estimator.predict(X[5:10])
    alone = np.concatenate([estimator.predict(X[i : i + 1]) for i in range(5, 10)])
    assert_allclose(alone, together, rtol=1e-6)


def test_a_head_keeps_no_statistics():
    with pytest.raises(ValueError, match="body has batch normalisation, whose statistics"):
        quick(body=perceptron(nn.BatchNorm1d(4))).meta_fit(X, Y, groups=GROUPS)


class Exponential(nn.Module):
    def forward(self, x):
        return torch.exp(x)


@pytest.mark.parametrize("scheme", ["tangent", "symmetric"])
def test_a_row_on_which_the_module_overflows_costs_its_task_and_not_the_step(scheme):
    body = perceptron()
    nn.init.constant_(body[0].weight, 10.0)
    body[1] = Exponential()
    x = X.copy()
    x[9] = 1000.0  # the last row of the first group, and so none of its support
    params = {"support": "first", "n_queries": None, "meta_max_iter": 3, "scheme": scheme}
    estimator = quick(body=body, **params).meta_fit(x, Y, groups=GROUPS)
    history = estimator.meta_history_[0]
    assert (history["n_left_out"], history["n_skipped"]) == (3, 0)
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]


# --- classes that are new


def test_a_body_is_kept_if_held_out_classes_say_so():
    x, y = images(12)
    estimator = CMLClassifier(
        classes="exchangeable",
        body=convolutions(),
        meta_max_iter=10,
        meta_batch_size=4,
        n_ways=3,
        n_shots=2,
        random_state=0,
    )
    estimator.meta_fit(x, y)
    gain = estimator.meta_gain_
    assert (estimator._meta.learned.network is not None) == ("prototypes" in gain)
    new, labels = images(4, seed=1)
    estimator.fit(new[::4], labels[::4])
    proba = estimator.predict_proba(new)
    assert proba.shape == (32, 4)
    alone = np.concatenate([estimator.predict_proba(new[i : i + 1]) for i in range(0, 32, 5)])
    assert_allclose(alone, proba[::5], rtol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", ["head", "synaptic", "modulatory"])
@pytest.mark.parametrize("body", [None, convolutions])
def test_networks_of_exchangeable_classes(model, body):
    x, y = images()
    x = x if body else x.reshape(len(x), -1)
    estimator = CMLClassifier(
        classes="exchangeable",
        model=model,
        body=body,
        hidden_layer_sizes=(4,),
        meta_max_iter=2,
        meta_batch_size=2,
        early_stopping=False,
        n_ways=(2, 3),
        n_shots=(1, 2),
        random_state=0,
    )
    estimator.meta_fit(x, y).fit(x[:24], y[:24])
    proba = estimator.predict_proba(x[:24])
    assert proba.shape == (24, 3)
    assert (proba.argmax(1) == y[:24]).mean() > 0.5
    assert estimator.meta_history_[0]["n_skipped"] == 0
    assert len(estimator.prior_summary()) in (1, 2)
    weak = clone(estimator).set_params(prior_strength=1e-3).fit(x[:3], y[:24:8])
    strong = clone(estimator).set_params(prior_strength=1e3).fit(x[:3], y[:24:8])
    assert abs(strong.predict_proba(x) - weak.predict_proba(x)).max() > 1e-9
    # Two classes, or four, of any names.
    estimator.fit(x[:32], np.array(list("abcd"))[y[:32]])
    assert estimator.predict_proba(x[:3]).shape == (3, 4)


# --- devices without double precision


class NoDouble(TorchDispatchMode):
    """Makes torch on the CPU stand for a device that cannot hold a number in double precision."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, out)):
            if isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64:
                raise TypeError(f"{func} in double precision")
        return out


@pytest.mark.parametrize("params", [{}, {"scheme": "symmetric"}, {"make": CMLClassifier}])
def test_heads_of_groups_ask_the_device_for_single_precision(params):
    y = LABELS if "make" in params else Y
    expected = quick(**params).meta_fit(X, y, groups=GROUPS).fit(X[:5], y[:5]).predict(X)
    with NoDouble():
        estimator = quick(**params).meta_fit(X, y, groups=GROUPS).fit(X[:5], y[:5])
        assert_array_equal(estimator.predict(X), expected)


@pytest.mark.parametrize(
    ("model", "solver"),
    [("head", "auto"), *[("modulatory", s) for s in ("auto", "lbfgs", "adam")]],
)
def test_networks_of_new_classes_ask_the_device_for_single_precision(model, solver):
    x, y = images(4)
    estimator = CMLClassifier(
        classes="exchangeable",
        body=convolutions,
        model=model,
        solver=solver,
        inner_max_iter=2,
        inner_tol=10.0,
        early_stopping=False,
        meta_max_iter=1,
        meta_batch_size=1,
        n_ways=2,
        n_shots=1,
        random_state=0,
    )
    with NoDouble():
        estimator.meta_fit(x, y).fit(x[:16], y[:16])
        assert estimator.predict_proba(x).shape == (len(x), 2)
    assert estimator.meta_history_[0]["n_left_out"] == 0


def test_networks_of_groups_stay_on_the_cpu(monkeypatch):
    with pytest.raises(TypeError, match="in double precision"), NoDouble():
        quick(model="modulatory").meta_fit(X, Y, groups=GROUPS)
    # A device without numbers: what would be put there could not come back.
    monkeypatch.setattr(arrays, "has_float64", lambda device: device != "meta")
    few = GROUPS < 3
    found, expected = (
        quick(model="modulatory", device=device, meta_max_iter=1)
        .meta_fit(X[few], Y[few], groups=GROUPS[few])
        .meta_params_["networks"]["omega"]
        for device in ("meta", "cpu")
    )
    assert_array_equal(found, expected)


# --- what is refused


def test_rows_keep_their_shape():
    x, y = images()
    estimator = CMLClassifier(
        classes="exchangeable", body=convolutions, meta_max_iter=1, n_ways=2, meta_batch_size=1
    ).meta_fit(x, y)
    with pytest.raises(ValueError, match=r"Rows of X have the shape \(1, 4, 9\), and those of"):
        estimator.fit(x.reshape(-1, 1, 4, 9), y)
    estimator.fit(x.reshape(len(x), -1), y)  # flat
    with pytest.raises(ValueError, match="group_column=0 is a column of a table"):
        CMLClassifier(body=convolutions, group_column=0).meta_fit(x, y)
    with pytest.raises(ValueError, match="Found array with dim 4"):
        CMLClassifier().meta_fit(x, y)


@pytest.mark.parametrize("fit", ["meta_fit", "fit"])
@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"body": lambda: 3}, r"^body must be a torch.nn.Module, or a .*; <lambda>\(\) gave 3\.$"),
        ({"body": nn.Linear}, "^body=Linear cannot be called without in_features, out_features: "),
        ({"body": nn.Linear, "body__in_features": 1}, "without out_features: pass body__out_f"),
        (
            {"body": Net, "body__widht": 1, "body__height": 2},
            "^body__widht, body__height cannot be passed to body: Net has no .* body__width, body_",
        ),
        ({"body": perceptron_of_two, "body__x": 1}, "perceptron_of_two has no .* it takes none"),
        (
            {"body": nn.Tanh, "body__x": 1},
            r"body could not be made by Tanh\(x=1\), .*: Tanh.__init",
        ),
        ({"body": Net, "body__width": "a"}, r"made by Net\(width='a'\), which raised TypeError: "),
    ],
)
def test_what_makes_no_module_is_refused(params, sentence, fit):
    with pytest.raises(TypeError, match=sentence):
        getattr(quick(**params), fit)(X, Y, groups=GROUPS)


def test_what_fails_in_the_making_is_a_bad_value():
    for params, sentence in (
        ({"body__width": -1}, r"^body could not be made by Net\(width=-1\), which raised Runtime"),
        ({"body__options": {}}, "which raised KeyError: 'bias'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            quick(body=Net, **params).meta_fit(X, Y, groups=GROUPS)
    with pytest.raises(ValueError, match="The 'body' parameter of CMLRegressor must be a callable"):
        quick(body=3, body__width=2).meta_fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize("model", ["head", "synaptic"])
@pytest.mark.parametrize("device", ["cuda:7", "fast"])
def test_a_device_that_torch_does_not_have_is_refused(model, device):
    with pytest.raises(ValueError, match=rf"^device='{device}' cannot be used by torch here \("):
        quick(model=model, device=device).meta_fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"body": None, "model": "modulatory", "rule": "reptile"}, "model='modulatory' is none"),
        ({"model": "synaptic", "rule": "implicit"}, "model='synaptic' with a body of one's own is"),
    ],
)
def test_a_rule_that_needs_more_is_refused_with_those_that_do_not(params, sentence):
    with pytest.raises(ValueError, match=f"rule='.*' needs .*{sentence}.* one of 'contrastive', "):
        quick(**params).meta_fit(X, Y, groups=GROUPS)


def test_another_body_after_meta_fit_is_refused():
    estimator = quick().meta_fit(X, Y, groups=GROUPS)
    estimator.set_params(body=perceptron(nn.LayerNorm(4)))
    with pytest.raises(ValueError, match=r"body was .* when meta_fit was called"):
        estimator.fit(X[:4], Y[:4])
