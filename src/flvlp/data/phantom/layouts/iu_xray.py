"""The Indiana University collection in its three forms: Kaggle's tables, Open-i's report files, R2Gen's annotation."""

import json
import shutil
from pathlib import Path

from flvlp.data.phantom.layouts.chance import is_turn
from flvlp.data.phantom.layouts.files import table_text, write_picture, write_text
from flvlp.data.phantom.layouts.iu_reports import Report, report_of, xml_text
from flvlp.data.phantom.layouts.parts import one_of_each_patient, parts_of
from flvlp.data.phantom.layouts.views import pixels_of, views_of
from flvlp.data.phantom.source import PhantomSource

REPORTS_HEADER = "uid,MeSH,Problems,image,indication,comparison,findings,impression"
PROJECTIONS_HEADER = "uid,filename,projection"
R2GEN_PARTS = {"train": "train", "validation": "val", "test": "test"}
PICTURES = "images/images_normalized"
_WITHOUT_PICTURES = (38, 17)  # turns of studies that Open-i has a report of and no picture


def uid_of(count: int) -> int:
    """Returns the uid of the `count`-th study; one in forty numbers is left out, as in the collection."""
    return 1 + count + count // 39


def write(folder: Path, phantoms: PhantomSource) -> None:
    """Writes one study of each patient: both tables, ecgen-radiology/, annotation.json, and the pictures.

    The collection knows a study by its uid, and no patients. Pictures lie in `images/images_normalized` as
    `<uid>_IM-*.dcm.png`. R2Gen's `images/<id>/0.png` and `1.png`, of studies with findings and two pictures, are links
    to them, in the order of the published names. Which of a study's pictures is the frontal, only the table of
    projections says.
    """
    reports, projections = [], []
    annotation: dict[str, list[dict]] = {part: [] for part in R2GEN_PARTS.values()}
    views, parts = views_of(phantoms), parts_of(phantoms)
    for count, index in enumerate(one_of_each_patient(phantoms)):
        uid = uid_of(count)
        film = f"{uid}_IM-{count % 2400 + 1:04d}"
        report = report_of(phantoms.raw_reports[index], phantoms.plans[index], phantoms.seed)
        if is_turn(count, _WITHOUT_PICTURES):
            write_text(folder / "ecgen-radiology" / f"{uid}.xml", xml_text(uid, report, []))
            continue
        names = []
        for number, view in enumerate(views[index], start=1):
            # Films of one cassette count 1001, 1002; those of several 1001, 2001.
            name = f"{film}-{1000 * number + 1 if index % 3 else 1000 + number}.dcm.png"
            write_picture(folder / PICTURES / name, pixels_of(phantoms, index, view))
            names.append((view.kind, name))
        projections += [(str(uid), name, kind.capitalize()) for kind, name in sorted(names)]
        stems = sorted(name.removesuffix(".dcm.png") for _, name in names)
        write_text(folder / "ecgen-radiology" / f"{uid}.xml", xml_text(uid, report, stems))
        reports.append(_row(uid, report))
        if report.findings and len(stems) == 2:
            part = R2GEN_PARTS[parts[index]]
            annotation[part].append(_entry(folder, f"CXR{film}", stems, report, part))
    write_text(folder / "indiana_reports.csv", table_text(REPORTS_HEADER, reports))
    write_text(folder / "indiana_projections.csv", table_text(PROJECTIONS_HEADER, projections))
    write_text(folder / "annotation.json", json.dumps(annotation))


def _row(uid: int, report: Report) -> tuple[str, ...]:
    problems = [term.split("/")[0] for term in report.terms]
    said = (report.image, report.indication, report.comparison, report.findings, report.impression)
    return str(uid), ";".join(report.terms), ";".join(problems), *said


def _entry(folder: Path, name: str, stems: list[str], report: Report, part: str) -> dict:
    """Returns a study of R2Gen's annotation, and puts its pictures where that names them."""
    paths = [f"{name}/{number}.png" for number in range(len(stems))]
    for path, stem in zip(paths, stems, strict=True):
        source, target = folder / PICTURES / f"{stem}.dcm.png", folder / "images" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(source)
        except OSError:  # not every file system has links
            shutil.copyfile(source, target)
    return {"id": name, "report": report.findings, "image_path": paths, "split": part}
