"""Which phantoms go into a stand-in, and into which part of it."""

from flvlp.data.phantom.source import PhantomSource
from flvlp.data.splits.patients import split_by_patient

VALIDATION_SHARE, TEST_SHARE = 0.1, 0.15


def parts_of(phantoms: PhantomSource) -> list[str]:
    """Returns `train`, `validation` or `test` for each study; patients stay whole.

    It is the same in every stand-in, so that an encoder pre-trained on one of them has not seen the test patients of
    another. (Readers that draw parts themselves, by ids of pictures, undo this for IU X-ray, RSNA and SIIM-ACR.) The
    shares are not the publishers': of 1,000 phantoms, one or two in a hundred would leave classes without positives.
    """
    patients = [study.patient_id for study in phantoms.studies]
    names = [""] * len(patients)
    for part, positions in split_by_patient(patients, VALIDATION_SHARE, phantoms.seed, TEST_SHARE).items():
        for position in positions:
            names[position] = part
    return names


def one_of_each_patient(phantoms: PhantomSource, finding: str = "") -> list[int]:
    """Returns one study of each patient, for data sets that know no patients: their readers would tear them apart.

    Args:
        phantoms: all of them.
        finding: the first study that shows it is taken, the first of all where none does.
    """
    chosen: dict[int, int] = {}
    shows: set[int] = set()
    for plan in phantoms.plans:
        is_shown = any(one.name == finding for one in plan.findings)
        if plan.patient not in chosen or (is_shown and plan.patient not in shows):
            chosen[plan.patient] = plan.index
        if is_shown:
            shows.add(plan.patient)
    return list(chosen.values())
