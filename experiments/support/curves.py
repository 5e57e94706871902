"""ROC and precision-recall curves of the tested classes, in TensorBoard and as PNG in the run folder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from support import canvas
from support.downstream import Job
from support.drawing import save_png

if TYPE_CHECKING:
    from torch import Tensor

    from flvlp.data.studies import Labels
    from flvlp.metrics.curves import Curve

SIDE, LEGEND, EDGE, LINE = (
    4.2,
    3.0,
    0.6,
    0.17,
)  # inches: the square, the legend beside it, room for axes, a line of text
LONGEST_NAME = 34  # letters
STYLES = ("-", "--", ":", "-.")  # of the first ten classes, the next ten, ...


def show_curves(job: Job, labels: "Labels", positions: np.ndarray, scores: np.ndarray) -> None:
    """Shows the curves of each class that has both a positive and a negative; exclusive classes against the rest.

    Args:
        job: of a task that tests classes.
        labels: of the data set; what is not known is left out.
        positions: (n,) of the tested studies.
        scores: (n, C), higher for the class; any scale.
    """
    from flvlp import distributed
    from flvlp.metrics.curves import precision_recall_curves, recall_shares, roc_curves

    known = labels.values[positions]
    roc = roc_curves(known, scores)
    if not distributed.is_main() or not any(roc):
        return
    pictures = {
        "roc": curve_figure(labels.names, roc, ("false positive rate", "true positive rate"), "ROC: AUROC"),
        "precision_recall": curve_figure(
            labels.names,
            precision_recall_curves(known, scores),
            ("recall", "precision"),
            "Precision and recall: average precision",
        ),
    }
    for name, picture in pictures.items():
        save_png(job.folder / "figures" / f"{name}.png", picture)
        job.run_log.picture(f"figures/{name}", picture, 0)
    for column in [column for column, curve in enumerate(roc) if curve]:
        rows = ~np.isnan(known[:, column])
        truth, shares = known[rows, column], recall_shares(known[rows, column], scores[rows, column])
        job.run_log.pr_curve(f"test/{labels.names[column]}", truth, shares, 0)


def curve_figure(
    names: Sequence[str], curves: "Sequence[Curve | None]", axis_names: tuple[str, str], title: str
) -> "Tensor":
    """Draws the curves of all classes in one square, with the area of each in the legend.

    Args:
        names, curves: of the classes; one without a curve is left out.
        axis_names: of x and y; precision is drawn in steps, as its area counts them.
        title: says what the areas are.
    """
    from matplotlib import colormaps

    height = max(SIDE, len(names) * LINE) + 2 * EDGE
    width = SIDE + LEGEND + 1.5 * EDGE
    figure = canvas.new_figure(width, height)
    axes = figure.add_axes((EDGE / width, (height - EDGE - SIDE) / height, SIDE / width, SIDE / height))
    is_roc = axis_names[1] != "precision"
    if is_roc:
        axes.plot((0, 1), (0, 1), color=canvas.GREY, linewidth=0.8, linestyle=":")
    for number, (name, curve) in enumerate(zip(names, curves, strict=True)):
        if curve is not None:
            short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
            axes.plot(
                *(curve.x, curve.y),
                drawstyle="default" if is_roc else "steps-pre",
                color=colormaps["tab10"](number % 10),
                linestyle=STYLES[number // 10 % len(STYLES)],
                linewidth=1.2,
                label=f"{curve.area:.3f}  {short}".replace("$", r"\$"),
            )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=axis_names[0], ylabel=axis_names[1])
    axes.set_title(f"{title}, test part", fontsize=9, weight="bold", loc="left")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.tick_params(labelsize=8)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0, fontsize=8, frameon=False)
    return canvas.pixels_of(figure)
