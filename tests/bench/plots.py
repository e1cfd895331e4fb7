# SPDX-License-Identifier: BSD-3-Clause
"""The results as pictures: a bar for each ratio, a curve for each figure that may grow."""

import sys

from peers import TITLES
from report import times

_COLOURS = {"ours": "#1b6ca8", "preadv": "#999999", "file": "#999999", "cow": "#d98e04",
            "qcow2": "#a23b72", "overlayfs": "#3a7d44", "fuse-overlayfs": "#8ab17d"}


def draw(results, directory):
    """One SVG file for each part that has something to draw."""
    try:
        import matplotlib
    except ImportError:
        print("no plots: python has no matplotlib (package python3-matplotlib)", file=sys.stderr)
        return
    matplotlib.use("svg")
    # Text as text; and the same results give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "unionfs"})
    from matplotlib import pyplot

    for name, part in results["parts"].items():
        if part.get("comparisons"):
            _draw_comparisons(pyplot, part, directory / f"{name}.svg")
        if part.get("series"):
            _draw_series(pyplot, part, directory / f"{name}.svg")


def _save(pyplot, figure, path):
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _draw_comparisons(pyplot, part, path):
    """Ratios to the limit, a group of bars for each workload, on a scale where twice as fast
    is as far from 1 as half as fast."""
    results = part["comparisons"]
    limit = results[0]["limit"]
    names = [name for name in results[0]["peers"] if name != limit]
    height = 0.8 / len(names)
    figure, axes = pyplot.subplots(
        figsize=(9, 1.5 + len(results) * (0.25 + 0.15 * len(names))), layout="constrained"
    )
    for number, name in enumerate(names):
        ratios = [result["peers"][name]["ratio"] for result in results]
        medians = [ratio["median"] for ratio in ratios]
        errors = [
            [ratio["median"] - ratio["least"] for ratio in ratios],
            [ratio["greatest"] - ratio["median"] for ratio in ratios],
        ]
        places = [row + (number - (len(names) - 1) / 2) * height for row in range(len(results))]
        axes.barh(places, [median - 1 for median in medians], height * 0.9, left=1, xerr=errors,
                  color=_COLOURS.get(name), label=TITLES.get(name, name), ecolor="black",
                  error_kw={"linewidth": 0.7})
    for row, result in enumerate(results):
        aim = result["ours_to"].get(limit, {}).get("aim")
        if aim is not None:
            axes.plot([aim, aim], [row - 0.45, row + 0.45], color="red", linewidth=1,
                      label="aim of unionfs" if row == 0 else None)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: times(value, ".3g"))
    axes.set_yticks(range(len(results)), [result["title"] for result in results])
    axes.invert_yaxis()
    axes.set_xlabel(f"speed, {TITLES.get(limit, limit)} = 1")
    axes.set_title(part["title"])
    axes.legend(fontsize="small")
    _save(pyplot, figure, path)


def _draw_series(pyplot, part, path):
    """A row of pictures for each thing that grows."""
    rows = {}
    for result in part["series"]:
        rows.setdefault(result["x_label"], []).append(result)
    width = max(map(len, rows.values()))
    figure, grid = pyplot.subplots(len(rows), width, figsize=(4.2 * width, 3.4 * len(rows)),
                                   layout="constrained", squeeze=False)
    for row, results in enumerate(rows.values()):
        for axes, result in zip(grid[row], results):
            for name, points in result["curves"].items():
                xs = [point["x"] for point in points]
                axes.plot(xs, [point["median"] for point in points], marker="o", markersize=3,
                          label=name)
                axes.fill_between(xs, [point["least"] for point in points],
                                  [point["greatest"] for point in points], alpha=0.2)
            # Room above and below, or noise would fill the picture.
            figures = [point["median"] for points in result["curves"].values() for point in points]
            axes.set(xscale="log", yscale="log", title=result["title"],
                     xlabel=result["x_label"], ylabel=result["y_label"],
                     ylim=(min(figures) / 4, max(figures) * 4))
            axes.grid(True, linewidth=0.3)
            axes.legend(fontsize="x-small")
    _save(pyplot, figure, path)
