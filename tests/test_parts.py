"""What must hold in an object of each class of a state, and that all classes are there."""

import dataclasses
import inspect

import numpy as np
import pytest

from skcml.estimators._card import fitted_tasks
from skcml.estimators._parts import PARTS
from skcml.heads import Heads
from skcml.persistence._types import hints_of, parameters_of
from tests.saved import EXAMPLES


def objects_in(value, found=None):
    """Return all objects of a tree, each once."""
    found = {} if found is None else found
    if type(value).__module__.startswith("skcml") and id(value) not in found:
        found[id(value)] = value
        for name in parameters_of(type(value)) if not inspect.isfunction(value) else ():
            objects_in(getattr(value, name), found)
    elif isinstance(value, (list, tuple)):
        for item in value:
            objects_in(item, found)
    elif isinstance(value, dict):
        objects_in(list(value.values()), found)
    return found


@pytest.fixture(scope="module")
def objects():
    """All objects of all states."""
    found = {}
    for name in EXAMPLES:
        estimator, *_ = EXAMPLES[name]()
        found |= objects_in([vars(estimator).get("_meta"), fitted_tasks(estimator)])
    return list(found.values())


def test_real_states_hold_together(objects):
    for value in objects:
        if not inspect.isfunction(value) and type(value).__name__ != "FunctionalModule":
            check = PARTS[type(value)]
            assert check is None or check(value), type(value)


def test_nearly_all_parts_occur_in_the_examples(objects):
    lacking = {part.__name__ for part in PARTS if not inspect.isfunction(part)}
    lacking -= {type(value).__name__ for value in objects}
    assert lacking == {"SGD", "Adam"}  # solvers, as L-BFGS


def test_names_are_there_once_and_arguments_are_attributes_with_types():
    names = [part.__name__ for part in PARTS]
    assert len(names) == len(set(names))
    for part in PARTS:
        if not inspect.isfunction(part):
            assert set(parameters_of(part)) <= set(hints_of(part))


def changed(value, **fields):
    return dataclasses.replace(value, **fields)


def grown(array, axis):
    """Return an array that is longer by one along an axis."""
    return np.concatenate([array, np.take(array, [0], axis)], axis)


def test_arrays_of_another_shape_are_seen(objects):
    n_checked = 0
    for value in objects:
        check = PARTS.get(type(value))
        if check is None or not dataclasses.is_dataclass(value):
            continue
        arrays = {
            name: array
            for name in parameters_of(type(value))
            if isinstance(array := getattr(value, name), np.ndarray)
        }
        for name, array in arrays.items():
            assert not check(changed(value, **{name: array[None]})), (type(value), name)
            assert check(changed(value, **{name: array.copy()}))
            n_checked += 1
    assert n_checked > 100


def test_every_axis_of_a_head_counts(objects):
    heads = [value for value in objects if isinstance(value, Heads)]
    assert heads
    for value in heads:
        check = PARTS[Heads]
        for name in ("omega", "factor", "noise"):
            array = getattr(value, name)
            for axis in range(array.ndim - (name == "factor")):  # any number of columns will do
                if array.shape[axis]:
                    assert not check(changed(value, **{name: grown(array, axis)}))
        for name, array in value.theta.items():
            assert not check(changed(value, theta={**value.theta, name: array[..., 1:]}))
            assert not check(changed(value, theta={}))


def one(objects, kind, has=lambda value: True):
    return next(v for v in objects if type(v).__name__ == kind and has(v))


def test_places_that_lead_nowhere_are_seen(objects):
    posterior = one(objects, "Posterior", lambda p: len(p.starts) > 3 and p.starts[-1])
    check = PARTS[type(posterior)]
    for starts in (
        posterior.starts + 1,
        -posterior.starts,
        posterior.starts[::-1],
        posterior.starts[:-1],
        posterior.starts.astype(float),
        np.concatenate([[0, posterior.starts[-1] + 1], posterior.starts[2:]]),
    ):
        assert not check(changed(posterior, starts=starts))
    classes = one(objects, "AdaptedClasses")
    check = PARTS[type(classes)]
    first = classes.labels[0]
    for labels in (first + classes.n_classes, first - 1 - first.max(), first.astype(float)):
        assert not check(changed(classes, labels=[labels, *classes.labels[1:]]))
    assert not check(changed(classes, labels=classes.labels[1:]))
    assert not check(changed(classes, weights=[*classes.weights, classes.weights[0]]))


def test_what_is_of_other_tasks_is_seen(objects):
    adapted = one(objects, "Adapted", lambda a: a.groups is not None)
    check = PARTS[type(adapted)]
    single = one(objects, "Adapted", lambda a: a.groups is None and not a.is_prior)
    assert not check(changed(adapted, groups=None))
    assert not check(changed(adapted, posteriors=single.posteriors))
    assert not check(changed(adapted, posteriors={}))
    assert not check(changed(adapted, prior_strength=0.0))
    assert not check(changed(adapted, known=single.known))
    assert not check(changed(adapted, seen=adapted.seen.astype(int)))
    assert not check(changed(adapted, is_prior=True))
    state = one(objects, "GroupsState")
    members = state.learned.members
    for other in (
        {},
        {"networks": members["mixed_model"]},
        {**members, "more": members["mixed_model"]},
        {"mixed_model": None},
    ):
        learned = changed(state.learned, members=other)
        assert not PARTS[type(state)](changed(state, learned=learned))


def test_meta_parameters_of_another_network_are_seen(objects):
    networks = one(objects, "TaskNetworks")
    check = PARTS[type(networks)]
    assert not check(changed(networks, members=[]))
    assert not check(changed(networks, members=[{"omega": np.zeros(1)}]))
    assert not check(changed(networks, members=[{}]))
    problem = networks.problem
    wide = changed(problem.network, hidden_layer_sizes=(10**7, 10**7))
    assert not check(changed(networks, problem=changed(problem, network=wide)))
    learned = one(objects, "LearnedNetwork")
    check = PARTS[type(learned)]
    assert not check(changed(learned, theta={"omega": learned.theta["omega"][1:]}))
