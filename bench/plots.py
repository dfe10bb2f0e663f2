"""Cost against d, B and S on logarithmic scales, over the roofline.

draw   from a result: one picture for each verb, rows by dtype, columns by axis

The roof of an element is the dearer of two: moving it (written by a draw, read by a density), and
the (d + 1) / 2 multiply-adds of its row of the triangle, each as fast as this core can (roofs.py).
What is small enough to stay in the first caches can be moved faster than that.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

BYTES = {"float64": 8, "float32": 4}
TITLES = {"mvn_sample": "MultivariateNormal.sample", "mvn_log_prob": "MultivariateNormal.log_prob"}
MOVED = {"mvn_sample": "write", "mvn_log_prob": "read"}
AXES = {"d": "d, size of an event", "B": "B, size of the batch", "S": "S, samples of each"}
COLOURS = {
    "fastdist": ("#1a5fb4", "o", 2.2),
    "noise alone": ("#1a5fb4", "", 1.2),
    "numpy": ("#e66100", "s", 1.2),
    "torch": ("#a51d2d", "^", 1.2),
    "randomgen": ("#26794a", "D", 1.2),
}
LABELS = {"noise alone": "fastdist, noise alone"}
DIM = 8  # where it is held


def draw(result: dict, folder: Path) -> None:
    mpl.use("Agg")
    for verb in dict.fromkeys(curve["verb"] for curve in result["curves"]):
        curves = [curve for curve in result["curves"] if curve["verb"] == verb]
        rows = list(dict.fromkeys(curve["dtype"] for curve in curves))
        columns = list(dict.fromkeys(curve["axis"] for curve in curves))
        figure, panels = plt.subplots(
            len(rows),
            len(columns),
            figsize=(4.2 * len(columns) + 0.4, 3.3 * len(rows) + 1.2),
            sharey="row",
            squeeze=False,
            layout="constrained",
        )
        for curve in curves:
            panel = panels[rows.index(curve["dtype"]), columns.index(curve["axis"])]
            _panel(panel, curve, result["roofs"])
        for dtype, row in zip(rows, panels, strict=True):
            row[0].set_ylabel(f"ns an element, {dtype}")
            row[0].set_ylim(bottom=_moving(result["roofs"], dtype, verb) / 2)
        figure.suptitle(
            f"{TITLES[verb]}: cost on one core\n"
            f"{result['facts']['CPU']}, {result['facts']['instruction set']}, {result['date']}"
        )
        handles = {}
        for panel in panels.flat:
            handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
        figure.savefig(folder / f"{result['machine']}-{verb}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)


def _moving(roofs: dict, dtype: str, verb: str) -> float:
    """ns that an element takes to or from memory."""
    return BYTES[dtype] / roofs["bytes a ns"][MOVED[verb]]


def _panel(panel: plt.Axes, curve: dict, roofs: dict) -> None:
    for name, line in curve["lines"].items():
        colour, marker, width = COLOURS[name]
        panel.plot(
            *zip(*((int(x), ns) for x, ns in line.items()), strict=True),
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=width,
            linestyle="-" if marker else ":",
            label=LABELS.get(name, name),
        )
    x = np.array(sorted({int(x) for line in curve["lines"].values() for x in line}), dtype=float)
    dim = x if curve["axis"] == "d" else np.full_like(x, DIM)
    moving = _moving(roofs, curve["dtype"], curve["verb"])
    roof = np.maximum(moving, (dim + 1) / 2 / roofs["multiply-adds a ns"][curve["dtype"]])
    panel.loglog()
    panel.plot(x, roof, color="black", linewidth=1.5, linestyle="--", label="roofline (memory, FMA)")
    panel.fill_between(x, roof, moving / 2, color="black", alpha=0.08, linewidth=0)
    panel.set_xlabel(AXES[curve["axis"]])
    panel.set_title(curve["held"], fontsize="medium")
    panel.grid(which="major", alpha=0.3)
