"""Jacobians of outer products: what they do is what the matrix written out does."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skcml.problems import outer_products as module
from skcml.problems.outer_products import OuterProducts

N_TASKS, N_ROWS, N_FUNCTIONS = 3, 4, 2


def jacobian(library=np.asarray):
    """Return a Jacobian with a block that functions share the left of, and one that they do not."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return library(rng.normal(size=(N_TASKS, N_ROWS, *shape)))

    return OuterProducts(
        {"one": (draw(1, 3), draw(N_FUNCTIONS, 2)), "two": (draw(N_FUNCTIONS, 1), draw(2, 4))}
    )


def written_out(products):
    """Return the Jacobian, (n_tasks, n_rows * K, n_params), entry by entry."""
    blocks = []
    for left, right in products.blocks.values():
        left = np.broadcast_to(left, (*right.shape[:3], left.shape[-1]))
        outer = np.einsum("tnki,tnko->tnkio", left, right)
        blocks.append(outer.reshape(N_TASKS, N_ROWS * N_FUNCTIONS, -1))
    return np.concatenate(blocks, axis=-1)


LIBRARIES = pytest.mark.parametrize("library", [np.asarray, torch.tensor])


@LIBRARIES
def test_it_is_written_out_in_the_order_of_its_blocks(library):
    products, matrix = jacobian(library), written_out(jacobian())
    assert matrix.shape == (3, 8, 10)
    assert_allclose(products.dense(), matrix)
    assert_allclose(products.dense(slice(1, 2)), matrix[1:2])


@LIBRARIES
def test_products_are_those_of_the_matrix(library):
    products, matrix = jacobian(library), written_out(jacobian())
    rng = np.random.default_rng(1)
    direction, rows = rng.normal(size=(3, 10)), rng.normal(size=(3, 4, 2))
    along = (matrix @ direction[..., None]).reshape(rows.shape)
    assert_allclose(products.times(library(direction)), along)
    back = (matrix.mT @ rows.reshape(3, 8, 1))[..., 0]
    assert_allclose(products.transposed(library(rows)), back)
    assert_allclose(products.transposed(), matrix.sum(1))


def test_sums_keep_the_shape_of_each_block():
    products, total = jacobian(), written_out(jacobian()).sum((0, 1))
    summed = products.summed()
    assert_allclose(summed["one"], total[:6].reshape(3, 2))
    assert_allclose(summed["two"], total[6:].reshape(1, 4))


@LIBRARIES
@pytest.mark.parametrize("budget", [1, 100, 10**6])
def test_the_gram_matrix_does_not_depend_on_how_many_are_written_out(library, budget, monkeypatch):
    monkeypatch.setattr(module, "BUDGET", budget)
    scale = np.random.default_rng(2).uniform(0.5, 2, 10)
    matrix = written_out(jacobian()) * scale
    assert_allclose(jacobian(library).gram(library(scale)), matrix @ matrix.mT)
