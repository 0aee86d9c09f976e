"""Networks for each task, built in or the user's own, offer the same."""

import pytest
import torch

from skcml.problems.module_network import ModuleNetwork
from skcml.problems.task_mlp import Dense, Modulated, TaskMLP
from skcml.problems.task_network import Rows, TaskNetwork
from tests.asserts import assert_follows

NETWORKS = [
    TaskMLP(3, 2, (4,), "tanh", Dense()),
    TaskMLP(3, 2, (4,), "tanh", Modulated()),
    *(
        ModuleNetwork(torch.nn.Linear(3, 4), 2, kind, input_shape=(3,))
        for kind in ("dense", "modulated")
    ),
]


@pytest.mark.parametrize("network", NETWORKS)
def test_they_follow_the_interface(network):
    assert_follows(network, TaskNetwork)
    assert network.n_outputs == 2
    assert network.n_statistics == 0
    *_, last = network.fast
    assert last == "head"  # where tied heads and problems look for it
    assert network.fast["head"][1] == 2


def test_rows_are_named_in_the_order_in_which_they_pass():
    assert Rows._fields == ("x", "y", "weight", "context")
