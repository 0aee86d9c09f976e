"""What tests of pictures need: matplotlib without a window, and no picture left behind."""

import matplotlib as mpl
import pytest


@pytest.fixture
def plt():
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")
