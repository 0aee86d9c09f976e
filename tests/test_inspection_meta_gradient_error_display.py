"""`MetaGradientErrorDisplay`, drawn without a window."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from benchmarks.theory.problems import ridge
from skcml.inspection import MetaGradientErrorDisplay, meta_gradient_error

OPTIONS = {"betas": [1e-3, 1e-2, 1e-1], "tols": [1e-3, 1e-6], "random_state": 0}


def test_from_estimator_draws_what_was_found(plt):
    display = MetaGradientErrorDisplay.from_estimator(*ridge(), **OPTIONS)
    result = meta_gradient_error(*ridge(), **OPTIONS)
    assert set(display.lines_) == set(result.error)
    for scheme, lines in display.lines_.items():
        assert len(lines) == 2
        for line, row in zip(lines, (0, 1), strict=True):  # from loose to tight
            assert_array_equal(line.get_xdata(), result.beta)
            assert_array_equal(line.get_ydata(), result.error[scheme][row])
        assert lines[0].get_alpha() < lines[1].get_alpha()
    ax = display.ax_
    assert display.figure_ is ax.figure
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    ends = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    vertical = {x[0] for x in ends if x[0] == x[1]}
    assert result.beta_limit in vertical
    assert set(result.auto_beta["forward"]) <= vertical
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [*result.error, "beta_limit", "least", 'beta="auto"']


def test_plot_into_given_axes_and_again(plt):
    result = meta_gradient_error(*ridge(), schemes=["symmetric"], **OPTIONS)
    display = MetaGradientErrorDisplay(result=result)
    _, (left, right) = plt.subplots(1, 2)
    assert display.plot(ax=left) is display
    assert display.ax_ is left
    assert display.plot(ax=right).ax_ is right
    assert len(plt.get_fignums()) == 1
    assert display.plot().ax_ not in (left, right)
    assert len(plt.get_fignums()) == 2


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'draws with matplotlib: pip install "skcml\[plot\]"'):
        MetaGradientErrorDisplay.from_estimator(*ridge(), n_tasks=np.nan)  # said before all else
