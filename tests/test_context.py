"""The rows that statistics are taken from."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skcml.problems.context import Context

LIBRARIES = pytest.mark.parametrize("library", [np.asarray, torch.tensor])


def parts():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 3, 4)), rng.uniform(size=(2, 3)), rng.uniform(size=(2, 5))


@LIBRARIES
@pytest.mark.parametrize("n", [1, 3])
def test_copies_of_all_tasks_follow_each_other(library, n):
    context = Context(*map(library, parts()))
    for found, part, given in zip(context.repeated(n), parts(), context, strict=True):
        assert type(found) is type(given)
        assert found.dtype == given.dtype
        assert found.shape == (2 * n, *part.shape[1:])
        assert_array_equal(found, np.concatenate([part] * n))


@LIBRARIES
def test_rows_that_lead_the_others_stay_with_them(library):
    _, weight, query = parts()
    found = Context(None, library(weight), library(query)).repeated(2)
    assert found.x is None
    assert_array_equal(found.weight, np.tile(weight, (2, 1)))
    assert_array_equal(found.query, np.tile(query, (2, 1)))
