"""Every split by name: `nih14/official`, `rsna/mgca`, ... Result rows carry the name and the hash of the id lists.

A split is made by picture and patient, never by row of a table. Where the field's released code leaks (a row of a mask
table, a position taken for a label), its proportions are kept and its draw is not; docs/data.md says where.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How a named split is made.

    Attributes:
        how: `published` follows the publisher's lists, `patients` draws by a hash of the patient, `shuffle` repeats
            scikit-learn's `train_test_split` with random_state 0, `lists` reads id lists that the user has.
        note: where it comes from.
        validation, test: shares; of patients, for `shuffle` of pictures. Without a published validation part, a
            `published` split takes the share from its training part, by patient.
        test_part: the publisher's part that is tested on (`test` where it is not there).
        sizes: train, validation and test of the complete data set, to know a partial copy by; None where not fixed.
    """

    how: str
    note: str
    validation: float = 0.0
    test: float = 0.0
    test_part: str = "test"
    sizes: tuple[int, int, int] | None = None


_PICTURE = "by picture, since no test labels were published and a picture is a patient"
# Made by flvlp.data.splits.pools, which puts the pool in the place of the publisher's test part.
_POOL = "tests on dataset.pool, or on a pool drawn from train; its patients leave train and validation"
# The first split of a data set is its default.
SPLITS: dict[str, SplitRule] = {
    "mimic_cxr/official": SplitRule("published", "mimic-cxr-2.0.0-split.csv"),
    "mimic_cxr/5x200": SplitRule("published", f"{_POOL} (BenchX's list)", validation=0.1),
    "chexpert/official": SplitRule("published", "train.csv, valid.csv, the 500 studies of the official test set"),
    "chexpert/mgca": SplitRule(
        "published",
        "MGCA's sizes with dataset.unit=frontal: 5,000 pictures for validation, valid.csv for test; by patient",
        validation=5000 / 191_027,  # of the frontal pictures
        test_part="validation",
    ),
    "chexpert/5x200": SplitRule("published", f"{_POOL} (GLoRIA's list, or PRIOR's)", validation=0.1),
    "chexpert/8x200": SplitRule("published", f"{_POOL} (ConVIRT's list)", validation=0.1),
    "chexpert/mrm": SplitRule("lists", "lists of MRM (test is valid.csv)", sizes=(218_414, 5000, 234)),
    "nih14/official": SplitRule(
        "published",
        "train_val_list.txt, test_list.txt; validation is a tenth of the patients of the former",
        validation=0.1,
    ),
    "nih14/mrm": SplitRule("lists", "lists of MRM, MaCo, ECAMP and BenchX", sizes=(78_468, 11_219, 22_433)),
    "rsna/patient-70-15-15": SplitRule(
        "patients", "by the NIH patient, with RSNA's mapping file; no test labels were published", 0.15, 0.15
    ),
    "rsna/picture-70-15-15": SplitRule("patients", _PICTURE, validation=0.15, test=0.15),
    "rsna/mgca": SplitRule("shuffle", "MGCA, classification", 0.15, 0.15, sizes=(18_678, 4003, 4003)),
    "rsna/mgca-detection": SplitRule("shuffle", "MGCA, detection; ECAMP", 0.2, 0.2, sizes=(16_010, 5337, 5337)),
    "rsna/benchx": SplitRule("lists", "lists of BenchX", sizes=(18_678, 4003, 4003)),
    "covidx/official": SplitRule(
        "published", "the release's lists; without a list for it, validation is a fifth of the patients", validation=0.2
    ),
    "covidx/ecamp": SplitRule("lists", "lists of ECAMP", sizes=(27_117, 3013, 400)),
    "covidx/benchx": SplitRule("lists", "lists of BenchX for CXR-4", sizes=(67_862, 8472, 8481)),
    "siim/patient-70-15-15": SplitRule("patients", _PICTURE, validation=0.15, test=0.15),
    "siim/mrm": SplitRule("lists", "lists of MRM", sizes=(7969, 1898, 1904)),
    "siim/benchx": SplitRule("lists", "lists of BenchX", sizes=(9303, 1372, 1372)),
    "object_cxr/official": SplitRule(
        "published",
        "train.csv and dev.csv, which is tested on; validation is a fifth of train",
        validation=0.2,
        test_part="validation",
        sizes=(6400, 1600, 1000),
    ),
    "object_cxr/three-parts": SplitRule("published", "train.csv, dev.csv, test.csv; BenchX", sizes=(8000, 1000, 1000)),
    "object_cxr/mgca": SplitRule(
        "shuffle", "MGCA's code on train.csv; test is dev.csv", 0.1, test_part="validation", sizes=(7200, 800, 1000)
    ),
    "ms_cxr/official": SplitRule("published", "the column split of release 1.1.0"),
    "iu_xray/patient-70-10-20": SplitRule("patients", "by uid", validation=0.1, test=0.2),
    "iu_xray/r2gen": SplitRule("published", "annotation.json of R2Gen", sizes=(2069, 296, 590)),
}


def default_split(dataset: str) -> str:
    """Returns the first split of the registry that is of this data set, `<dataset>/patient` where it has none."""
    return next((name for name in SPLITS if name.startswith(f"{dataset}/")), f"{dataset}/patient")


def rule_of(name: str, dataset: str, validation_fraction: float = 0.1, test_fraction: float = 0.0) -> SplitRule:
    """Looks a split up. Beside the registry every data set has `<dataset>/patient` and `<dataset>/lists`.

    Raises:
        ValueError: a name that the data set does not have; lists those that it has.
    """
    if name not in names_of(dataset):
        raise ValueError(
            f"dataset.split: unknown split {name!r} of {dataset}; choose one of: {', '.join(names_of(dataset))}"
        )
    if name == f"{dataset}/patient":
        return SplitRule(
            "patients", "drawn by a hash of the patient", validation=validation_fraction, test=test_fraction
        )
    if name == f"{dataset}/lists":
        return SplitRule("lists", "your own lists")
    return SPLITS[name]


def names_of(dataset: str) -> list[str]:
    """Returns the names of all splits of a data set."""
    named = [name for name in SPLITS if name.startswith(f"{dataset}/")]
    return [*named, f"{dataset}/patient", f"{dataset}/lists"]
