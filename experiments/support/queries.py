"""Text queries of a pool by class: how many of the pictures that a sentence finds are of its class."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from flvlp.saved_encoders import LoadedEncoders

COLUMNS = ("Variable", "Text")  # of the list that ConVIRT published with CheXpert-8x200
PRECISION_AT = (1, 5, 10)


def read_queries(path: Path, classes: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """Reads a list of text queries: a CSV file with the columns `Variable` (the class) and `Text`.

    Args:
        path: the file.
        classes: names of the pool's C classes.

    Returns:
        Q sentences and the class of each, (Q,) int64.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a missing column, a class that the pool does not have, an empty sentence, or no query.
    """
    if not path.is_file():
        raise FileNotFoundError(f"task.queries: no such file ({path}); give the query.csv of text queries")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(f"task.queries: {path} has no column {', '.join(missing)}; it needs Variable and Text")
        read = [((row["Variable"] or "").strip(), (row["Text"] or "").strip(), rows.line_num) for row in rows]
    for name, text, line in read:
        if name not in classes or not text:
            raise ValueError(
                f"task.queries: {path}, line {line}: class {name!r} with text {text!r}; it needs a sentence, and a "
                f"class of the pool: {', '.join(classes)}"
            )
    if not read:
        raise ValueError(f"task.queries: {path} holds no query")
    return [text for _, text, _ in read], np.array([classes.index(name) for name, _, _ in read], dtype=np.int64)


def text_precision(
    given: "LoadedEncoders",
    sentences: list[str],
    sentence_classes: np.ndarray,
    images: "Tensor",
    image_classes: np.ndarray,
) -> dict[str, float]:
    """Searches the pictures of a pool by sentences.

    Args:
        given: encodes the sentences.
        sentences, sentence_classes: Q queries and their classes (Q,).
        images, image_classes: features (N, D) and classes (N,) of the pool.

    Returns:
        `text_to_image/p1`, `p5`, `p10` in [0, 1], means over the queries, and `queries`, their number.
    """
    import torch

    from flvlp.metrics.retrieval import precision_at

    features = given.encode_reports(sentences).report.float().cpu()
    wanted, there = torch.from_numpy(sentence_classes), torch.from_numpy(image_classes)
    figures = {
        f"text_to_image/p{k}": float(
            precision_at(features, images, k, query_classes=wanted, gallery_classes=there).mean()
        )
        for k in PRECISION_AT
    }
    return figures | {"queries": float(len(sentences))}
