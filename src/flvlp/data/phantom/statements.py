"""What phantom reports say beyond their findings: normal statements, negations, and sentences about nothing visible.

A normal statement or negation carries the findings that would make it false; `reports.py` uses it only when none of
them is present. Regions give the order of a systematic report. `{slots}` as in `phrases.py`.
"""

from typing import NamedTuple

LUNG_FINDINGS = frozenset({"consolidation", "atelectasis", "edema", "nodule", "mass", "emphysema"})
CHEST_FINDINGS = LUNG_FINDINGS | {"pleural_effusion", "pneumothorax"}
FRACTURES = frozenset({"rib_fracture", "vertebral_fracture"})
CARDIOPULMONARY_FINDINGS = CHEST_FINDINGS | {"cardiomegaly"}

REGIONS = ("device", "heart", "lungs", "pleura", "bones", "other")
REGION_OF = {
    "cardiomegaly": "heart",
    "hiatal_hernia": "heart",
    "pleural_effusion": "pleura",
    "pneumothorax": "pleura",
    "rib_fracture": "bones",
    "vertebral_fracture": "bones",
    "support_device": "device",
}  # everything else lies in the lungs


class Statement(NamedTuple):
    """Phrasings of one fact that holds while none of `untrue_with` is present."""

    region: str
    untrue_with: frozenset[str]
    phrasings: tuple[str, ...]


def _statement(region: str, untrue_with: frozenset[str] | set[str], *phrasings: str) -> Statement:
    return Statement(region, frozenset(untrue_with), phrasings)


STATEMENTS = (
    _statement(
        *("heart", {"cardiomegaly"}),
        *("heart size is normal", "the heart is normal in size", "the heart is not enlarged"),
        *("overall heart size is within normal limits", "normal heart size", "cardiac size is {fine}"),
    ),
    _statement(
        *("heart", {"cardiomegaly", "hiatal_hernia", "mass"}),
        *("the cardiomediastinal silhouette is {fine}", "cardiomediastinal contours are {fine}"),
        *("heart and mediastinum are {fine}", "the heart size and mediastinal contours are {fine}"),
    ),
    _statement(
        *("heart", {"hiatal_hernia", "mass"}),
        *("mediastinal contours are {fine}", "the mediastinum is {fine}", "the mediastinum is not widened"),
    ),
    _statement(
        *("lungs", CHEST_FINDINGS),
        *("the lungs are clear", "lungs are clear", "both lungs are clear", "the lungs are clear bilaterally"),
        *("clear lungs", "the lung fields are free of abnormality", "lungs are well expanded and clear"),
    ),
    _statement(
        *("lungs", {"edema"}),
        *("pulmonary vascularity is {fine}", "the pulmonary vasculature is {fine}", "vascular markings are {fine}"),
    ),
    _statement(
        *("lungs", {"edema", "mass", "nodule"}),
        *("hilar structures are {fine}", "the hila are {fine}", "hilar contours are {fine}"),
    ),
    _statement(
        *("lungs", {"atelectasis", "emphysema", "pneumothorax"}),
        *("lung volumes are {fine}", "inspiratory effort is adequate", "the lungs are adequately inflated"),
    ),
    _statement(
        *("pleura", {"pleural_effusion"}),
        *("the costophrenic {angles} are sharp", "costophrenic {angles} are preserved"),
    ),
    _statement(
        *("pleura", {"pleural_effusion", "pneumothorax"}),
        *("pleural spaces are clear", "the pleura is {fine}", "pleural surfaces are {fine}"),
    ),
    _statement(
        *("pleura", {"pleural_effusion", "emphysema", "hiatal_hernia"}),
        *("the diaphragm is {fine}", "hemidiaphragms are smooth in outline", "diaphragmatic contours are {fine}"),
    ),
    _statement(
        *("bones", FRACTURES),
        *("osseous structures are intact", "no acute osseous abnormality", "the bony thorax is {fine}"),
        *("visualized bones are {fine}", "the skeleton shows no acute abnormality", "no acute bony lesion"),
    ),
    _statement(
        *("bones", {"vertebral_fracture"}),
        *("thoracic vertebral body heights are maintained", "alignment of the thoracic spine is {fine}"),
    ),
    _statement(
        *("other", {"support_device"}),
        *("soft tissues are {fine}", "the chest wall is {fine}", "no indwelling lines or tubes"),
    ),
    _statement(
        *("other", {"hiatal_hernia", "support_device"}),
        *("the upper abdomen is {fine}", "no abnormality of the upper abdomen", "visualized bowel gas is {fine}"),
    ),
    _statement("other", {"pneumothorax", "pleural_effusion", "mass"}, "the trachea is midline", "midline trachea"),
)
FINE = ("normal", "normal", "unremarkable", "within normal limits", "of normal appearance")

Absences = tuple[tuple[frozenset[str], tuple[str, ...]], ...]
# Nouns that negations join with "or": those of nearly every report, and those said now and then.
COMMON_ABSENCES: Absences = (
    (frozenset({"consolidation"}), ("focal consolidation", "consolidation", "airspace consolidation", "pneumonia")),
    (frozenset({"pleural_effusion"}), ("pleural effusion", "effusion", "pleural fluid")),
    (frozenset({"pneumothorax"}), ("pneumothorax", "pneumothorax", "pleural air")),
)
OTHER_ABSENCES: Absences = (
    (frozenset({"edema"}), ("pulmonary edema", "vascular congestion", "interstitial edema", "overt failure")),
    (frozenset({"nodule", "mass"}), ("suspicious nodule", "discrete mass", "pulmonary nodule", "mass")),
    (frozenset({"cardiomegaly"}), ("cardiomegaly", "cardiac enlargement")),
    (FRACTURES, ("acute fracture", "displaced fracture", "bony destruction")),
    (frozenset({"vertebral_fracture"}), ("compression deformity",)),
    (frozenset({"atelectasis", "pneumothorax"}), ("lobar collapse", "atelectasis")),
    (frozenset({"emphysema"}), ("hyperinflation", "emphysema", "bullous change")),
    (frozenset({"hiatal_hernia"}), ("hiatal hernia",)),
    (frozenset({"mass"}), ("lymphadenopathy", "hilar adenopathy", "mediastinal adenopathy")),
    (frozenset(), ("free intraperitoneal air", "subdiaphragmatic free air")),
    (frozenset({"support_device"}), ("radiopaque foreign body", "surgical hardware")),
)
DENIALS = (
    *("no {nouns}", "no {nouns}", "there is no {nouns}", "there is no {nouns}", "no evidence of {nouns}"),
    *("there is no evidence of {nouns}", "{nouns} is not seen", "negative for {nouns}", "no {nouns} is identified"),
    *("no convincing sign of {nouns}", "absence of {nouns}", "no radiographic signs of {nouns}"),
)

NORMAL_IMPRESSIONS = (
    *("no acute cardiopulmonary abnormality", "no acute cardiopulmonary process", "normal chest radiograph"),
    *("normal chest", "no acute disease", "no active disease in the chest", "unremarkable examination of the chest"),
    *("no acute intrathoracic abnormality", "chest within normal limits", "no radiographic evidence of acute disease"),
    *("normal study", "no acute findings", "negative chest", "no significant abnormality", "clear chest"),
)
NO_ACUTE_IMPRESSIONS = ("no acute cardiopulmonary abnormality", "no acute cardiopulmonary process", "lungs are clear")
BRIEF_IMPRESSIONS = (
    *("as above", "findings as described above", "abnormal chest radiograph, as detailed", "see findings"),
    *("abnormal examination, described in full above", "as described"),
)
MORE_IMPRESSIONS = ("additional findings as above", "other findings as described", "remaining findings above")

AGES = tuple(str(age) for age in range(24, 91))
PATIENTS = ("man", "woman", "male", "female", "patient")
SYMPTOMS = (
    *("cough", "fever", "chest pain", "shortness of breath", "dyspnea on exertion", "weakness", "dizziness", "syncope"),
    *("hypoxia", "leukocytosis", "night sweats", "weight loss", "hemoptysis", "wheezing", "tachycardia"),
    *("altered mental status", "abdominal discomfort", "a recent fall", "motor vehicle collision", "sore throat"),
    *("positive tuberculin test", "preoperative clearance", "annual screening", "sepsis workup", "malaise", "fatigue"),
    *(
        "routine checkup",
        "persistent hiccups",
        "back pain",
        "productive sputum",
        "immigration physical",
        "palpitations",
    ),
)
INDICATIONS = (
    *("{age}-year-old {patient} with {symptom}", "{symptom}", "{symptom} and {symptom}", "evaluate {symptom}"),
    *("{patient} aged {age} presenting with {symptom}", "{symptom} for several days", "history of {symptom}"),
)
TECHNIQUES_WITH_LATERAL = (
    *("PA and lateral views of the chest", "two views of the chest", "frontal and lateral radiographs"),
    *("upright posteroanterior and lateral projections were obtained", "chest radiography in two projections"),
)
TECHNIQUES_FRONTAL_ONLY = (
    *("single frontal view of the chest", "AP view of the chest", "one frontal radiograph was acquired"),
    *("semi-upright anteroposterior projection", "single view chest radiograph", "PA view only"),
)
COMPARISONS = (
    *("none", "none available", "no prior studies", "outside radiograph reviewed", "prior examination from last year"),
    *("chest radiograph of the previous month", "earlier films are unavailable"),
)
SEEN_WITH_LATERAL = (
    *("", "", "on the lateral view", "best seen on the lateral projection", "on both projections"),
    *("confirmed on the lateral radiograph", "better appreciated laterally"),
)

REMARKS = (
    *("recommend clinical correlation", "clinical correlation is advised", "correlate with symptoms and laboratory"),
    *("follow-up radiographs may be obtained as clinically indicated", "the referring physician was informed"),
    *("results were communicated by telephone", "preliminary interpretation was issued overnight"),
    *("images were reviewed with the attending radiologist", "this report was dictated with voice software"),
    *("further imaging at the discretion of the treating team", "continued surveillance is suggested"),
    *("the examination was performed in the emergency department", "the accession record is complete"),
)
