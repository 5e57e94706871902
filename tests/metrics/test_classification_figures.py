"""The figures of a classification task: their values, what is left out of averages, and intervals by patient."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef, roc_auc_score

from flvlp.metrics.classification_figures import exclusive_figures, findings_figures
from tests.metrics.draws import patient_weights

NAMES = ("Edema", "Mass", "Hernia")
DRAWS = 60


def findings(seed: int = 0, size: int = 80) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns labels with NaN, the last class without a positive, scores that know something, and patients."""
    generator = np.random.default_rng(seed)
    labels = generator.choice([0.0, 1.0, np.nan], p=[0.6, 0.3, 0.1], size=(size, 3))
    labels[:, 2] = np.where(labels[:, 2] == 1, 0, labels[:, 2])
    scores = np.round(np.nan_to_num(labels) + generator.normal(size=labels.shape), 1)
    return labels, scores, [f"p{i}" for i in generator.integers(0, size // 2, size)]


def test_findings_report_every_class_and_average_those_with_both_labels() -> None:
    labels, scores, patients = findings()
    found = findings_figures(NAMES, labels, scores, patients, draws=DRAWS)
    areas = []
    for column, name in enumerate(NAMES):
        is_known = ~np.isnan(labels[:, column])
        assert found[f"known/{name}"] == is_known.sum()
        assert found[f"positives/{name}"] == np.nansum(labels[:, column])
        if column < 2:
            areas.append(roc_auc_score(labels[is_known, column], scores[is_known, column]))
            assert found[f"auroc/{name}"] == pytest.approx(areas[-1])
            low, high = found[f"auroc/{name}_low"], found[f"auroc/{name}_high"]
            assert low < areas[-1] < high, f"{low} {areas[-1]} {high}"
    assert found["macro_auroc"] == pytest.approx(np.mean(areas)), f"{found['macro_auroc']}, mean {np.mean(areas)}"
    assert (found["classes_averaged"], found["images"]) == (2, 80)
    undefined = [key for key, value in found.items() if np.isnan(value)]
    assert undefined == [f"auroc/Hernia{end}" for end in ("", "_low", "_high")] + ["average_precision/Hernia"]
    mean = np.mean([found["average_precision/Edema"], found["average_precision/Mass"]])
    assert found["macro_average_precision"] == pytest.approx(mean)


def test_the_interval_of_macro_auroc_is_that_of_resampling_patients_one_by_one() -> None:
    labels, scores, patients = findings(1, size=14)  # so few that draws lose a class
    found = findings_figures(NAMES, labels, scores, patients, draws=DRAWS, seed=4)
    macros, lost = [], 0
    for weights in patient_weights(patients, DRAWS, seed=4):
        areas = []
        for column in range(2):
            drawn = weights * ~np.isnan(labels[:, column])
            label, score = (np.repeat(part[:, column], drawn) for part in (labels, scores))
            areas += [roc_auc_score(label, score)] if len(set(label)) == 2 else []
        macros += [np.mean(areas)] if areas else []
        lost += len(areas) < 2
    low, high = np.percentile(macros, (2.5, 97.5))
    assert lost, "no draw lost a class; the test shows nothing"
    assert found["macro_auroc_low"] == pytest.approx(low), f"{found['macro_auroc_low']}, one by one {low}"
    assert found["macro_auroc_high"] == pytest.approx(high), f"{found['macro_auroc_high']}, one by one {high}"


def test_thresholds_add_f1_accuracy_and_mcc_of_the_classes_that_have_one() -> None:
    labels, scores, patients = findings()
    thresholds = np.array([0.5, np.nan, 0.5])
    found = findings_figures(NAMES, labels, scores, patients, thresholds=thresholds, draws=DRAWS)
    is_known = ~np.isnan(labels[:, 0])
    pair = labels[is_known, 0], scores[is_known, 0] >= 0.5
    expected = {"f1": f1_score(*pair), "accuracy": (pair[0] == pair[1]).mean(), "mcc": matthews_corrcoef(*pair)}
    for figure, value in expected.items():
        assert found[f"{figure}/Edema"] == pytest.approx(value), f"{figure} {found[f'{figure}/Edema']}, {value}"
        assert found[f"macro_{figure}"] == pytest.approx(value), "Mass has no threshold, Hernia no positive"
        assert found[f"macro_{figure}_low"] < value < found[f"macro_{figure}_high"]
        assert np.isnan(found[f"{figure}/Mass"]) and np.isnan(found[f"{figure}/Hernia"])
    assert found["classes_with_threshold"] == 1


def test_thresholded_macros_of_a_draw_average_the_classes_that_have_both_labels_there() -> None:
    labels, scores, patients = findings(1, size=14)
    found = findings_figures(NAMES, labels, scores, patients, thresholds=np.full(3, 0.5), draws=DRAWS, seed=4)
    macros = []
    for weights in patient_weights(patients, DRAWS, seed=4):
        f1 = []
        for column in range(2):
            drawn = weights * ~np.isnan(labels[:, column])
            label, score = (np.repeat(part[:, column], drawn) for part in (labels, scores))
            f1 += [f1_score(label, score >= 0.5, zero_division=0)] if len(set(label)) == 2 else []
        macros += [np.mean(f1)] if f1 else []
    expected = np.percentile(macros, (2.5, 97.5)).tolist()
    ends = [found["macro_f1_low"], found["macro_f1_high"]]
    assert ends == pytest.approx(expected), f"{ends}, one by one {expected}"


@pytest.mark.filterwarnings("error")
def test_findings_without_any_known_label_are_nan_and_no_crash() -> None:
    found = findings_figures(("Edema",), np.full((4, 1), np.nan), np.zeros((4, 1)), list("abcd"), draws=5)
    assert np.isnan(found["macro_auroc"]) and np.isnan(found["macro_auroc_low"])
    assert found["classes_averaged"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_neither_the_order_of_images_nor_images_without_a_label_change_a_figure(seed: int) -> None:
    labels, scores, patients = findings(seed)
    options = {"thresholds": np.full(3, 0.5), "draws": 20}
    expected = findings_figures(NAMES, labels, scores, patients, **options)  # type: ignore[arg-type]
    order = np.random.default_rng(seed).permutation(80)
    found = findings_figures(
        NAMES,
        labels[order],
        scores[order],
        [patients[i] for i in order],
        **options,  # type: ignore[arg-type]
    )
    assert found == pytest.approx(expected, nan_ok=True), "in another order"
    labels, scores = np.concatenate([labels, np.full((5, 3), np.nan)]), np.concatenate([scores, np.ones((5, 3))])
    found = findings_figures(NAMES, labels, scores, patients + patients[:5], **options)  # type: ignore[arg-type]
    assert found | {"images": 80} == pytest.approx(expected, nan_ok=True), "with five images of which nothing is known"


@pytest.mark.parametrize("kind", ["patients", "names", "empty", "scores"])
def test_findings_refuse_what_does_not_fit(kind: str) -> None:
    labels, scores, patients = findings()
    names = NAMES[:2] if kind == "names" else NAMES
    if kind == "patients":
        patients = patients[:-1]
    elif kind == "empty":
        labels, scores, patients = labels[:0], scores[:0], []
    elif kind == "scores":
        scores = scores[:, :2]
    with pytest.raises(ValueError, match=r"findings_figures: .*of shape"):
        findings_figures(names, labels, scores, patients)


def test_exclusive_classes_report_accuracy_f1_and_one_against_the_rest_with_intervals() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 90)
    scores = generator.dirichlet(np.ones(3), 90) + 0.5 * np.eye(3)[targets]
    scores /= scores.sum(axis=1, keepdims=True)
    patients = [str(i // 2) for i in range(90)]
    found = exclusive_figures(NAMES, targets, scores, patients, draws=DRAWS, seed=2)
    predicted = scores.argmax(axis=1)

    def by_scikit_learn(rows: np.ndarray) -> dict[str, float]:
        return {
            "accuracy": (targets == predicted)[rows].mean(),
            "macro_f1": f1_score(targets[rows], predicted[rows], average="macro"),
            "macro_auroc": roc_auc_score(targets[rows], scores[rows], multi_class="ovr"),
        }

    drawn = [by_scikit_learn(np.repeat(np.arange(90), weights)) for weights in patient_weights(patients, DRAWS, seed=2)]
    for name, point in by_scikit_learn(np.arange(90)).items():
        expected = [point, *np.percentile([draw[name] for draw in drawn], (2.5, 97.5))]
        some = [found[f"{name}{end}"] for end in ("", "_low", "_high")]
        assert some == pytest.approx(expected), f"{name} {some}, scikit-learn on the images drawn {expected}"
    of_classes = f1_score(targets, predicted, average=None)
    assert [found[f"f1/{name}"] for name in NAMES] == pytest.approx(of_classes.tolist())
    assert [found[f"positives/{name}"] for name in NAMES] == np.bincount(targets).tolist()
    recalls = [(predicted[targets == column] == column).mean() for column in range(3)]
    assert [found[f"sensitivity/{name}"] for name in NAMES] == pytest.approx(recalls)
    assert found["classes_averaged"] == 3 and found["images"] == 90


def test_an_exclusive_class_that_never_occurs_is_nan_and_averaged_nowhere() -> None:
    targets, scores = np.array([0, 1, 0, 1]), np.array([[0.8, 0.2, 0], [0.4, 0.6, 0], [0.7, 0.3, 0], [0.9, 0.1, 0]])
    found = exclusive_figures(NAMES, targets, scores, list("abcd"), draws=10)
    assert np.isnan([found["auroc/Hernia"], found["f1/Hernia"], found["sensitivity/Hernia"]]).all()
    expected = (2 / 3 + 4 / 5) / 2  # F1 of class 1: 1 hit, 1 miss; of class 0: 2 hits, 1 alarm
    assert found["macro_f1"] == pytest.approx(expected), f"{found['macro_f1']}, by hand {expected}"
    assert found["classes_averaged"] == 2
    with pytest.raises(ValueError, match="for 3 patient ids and 3 names"):
        exclusive_figures(NAMES, targets, scores, list("abc"))
