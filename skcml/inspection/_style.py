"""What the pictures have in common: matplotlib where it is needed, colours, axes."""

from __future__ import annotations

from typing import Any

# Okabe and Ito, "Color Universal Design", 2008: told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "0.45"
COLORS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
# Of a band behind a line.
BAND_ALPHA = 0.18


def pyplot(display: type) -> Any:
    """Import matplotlib, or say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'{display.__name__} draws with matplotlib: pip install "skcml[plot]".'
        ) from error
    return plt


def one_axes(display: type, ax: Any, figsize: tuple[float, float] = (6.4, 4.4)) -> Any:
    """Return the axes to draw into: those given, or the only one of a new figure."""
    if ax is None:
        _, ax = pyplot(display).subplots(figsize=figsize, layout="constrained")
    if not hasattr(ax, "get_subplotspec"):
        raise TypeError(
            f"ax must be a matplotlib Axes or None; got an object of type {type(ax).__name__}."
        )
    return ax


def place_for(display: type, ax: Any, figsize: tuple[float, float]) -> tuple[Any, Any]:
    """Return a figure and the place in it that panels may divide.

    Parameters
    ----------
    display : type
        What asks.
    ax : matplotlib.axes.Axes or None
        Its frame goes, its place is divided; None makes a new figure.
    figsize : (float, float)
        Of a new figure, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
    spec : matplotlib.gridspec.SubplotSpec
    """
    if ax is None:
        figure = pyplot(display).figure(figsize=figsize, layout="constrained")
        return figure, figure.add_gridspec(1, 1)[0]
    spec = one_axes(display, ax).get_subplotspec()
    if spec is None:
        raise ValueError(
            "ax was placed by hand, so that its place cannot be divided into panels: make it with "
            "plt.subplots or figure.add_subplot, or leave ax out."
        )
    ax.set_axis_off()
    return ax.figure, spec


def legend_above(ax: Any, n_columns: int = 2, handles: Any = None) -> Any:
    """Put a legend where it hides nothing."""
    return ax.legend(
        handles=ax.get_legend_handles_labels()[0] if handles is None else handles,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=n_columns,
        frameon=False,
        fontsize="small",
        columnspacing=1.5,
    )


def legend_of_panels(figure: Any, place: Any, handles: list[Any]) -> Any:
    """Put one legend for several panels where it hides none of them.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    place : matplotlib.gridspec.SubplotSpec or None
        Kept free for it; None is below all that is in the figure.
    handles : list of matplotlib.artist.Artist
        In columns of two.
    """
    look = {"ncols": -(-len(handles) // 2), "frameon": False, "fontsize": "small"}
    if place is None:
        return figure.legend(handles=handles, loc="outside lower center", **look)
    ax = figure.add_subplot(place)
    ax.set_axis_off()
    return ax.legend(handles=handles, loc="center", borderpad=0, **look)
