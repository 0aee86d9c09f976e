"""The benchmark of inner steps: contestants that do the same, and what it does if they do not."""

import importlib.util

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.speed import inner_step


@pytest.fixture
def entries(monkeypatch):
    """Return the contestants that need neither JAX nor a compiler."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = inner_step.contestants([6, 5])
    assert list(found) == [
        "built-in network",
        "built-in network, compile=True",
        "the same as a body",
        "the same as a body, compile=True",
    ]
    return {name: run for name, run in found.items() if "compile" not in name}


def test_contestants_end_at_the_same_place_and_have_gone_there(entries):
    inner_step.check_same(entries)
    begin = inner_step.setting([6, 5]).theta["omega"]
    for run in entries.values():
        moved = run(4) - begin
        assert moved.shape == (inner_step.N_TASKS, len(begin))
        # At first a step of Adam is the learning rate, in the direction of the slope.
        assert_allclose(abs(run(1) - begin).max(), inner_step.RATE, rtol=1e-3)
        assert (abs(moved).max(1) > 2 * inner_step.RATE).all()


@pytest.mark.parametrize("apart", [1e-8, np.nan])
def test_one_that_ends_elsewhere_is_named(entries, apart):
    entries["another"] = lambda n_steps: entries["built-in network"](n_steps) + apart
    with pytest.raises(
        ValueError, match=r"After 10 steps another is .* away from built-in network"
    ):
        inner_step.check_same(entries)


def test_the_first_is_what_others_are_compared_with(capsys):
    entries = {"one": lambda n_steps: None, "other": lambda n_steps: None}
    assert inner_step.measure(entries, 3, 4).shape == (4, 2)
    microseconds = np.array([[1.0, 3.0], [2.0, 4.0], [4.0, 20.0]])
    inner_step.report(["one", "other"], microseconds, [0.25, 7.0])
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first == "| one | 2 | 1.00 | 0.2 |"
    assert second == "| other | 4 | 3.00 | 7.0 |"
