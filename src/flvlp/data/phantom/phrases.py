"""The words of phantom reports: a grammar as plain tables, expanded by `reports.py`.

A `{slot}` is replaced by one option of its table, drawn at random and expanded in turn. Slots that depend on the
finding (`grade`, `some`, `side`, `area`, `zone`, `size`, `rib`, `level`, `hedge`, `seen`) are filled in by
`reports.py`. An option listed twice is drawn twice as often, `""` says nothing. Sides are the patient's.
"""

WORDS: dict[str, tuple[str, ...]] = {
    "noted": ("is noted", "is present", "is seen", "is identified", "is demonstrated", "is visualized", "is evident"),
    "are_noted": ("are noted", "are present", "are seen", "are identified", "are visible", "are observed"),
    "there": ("there is", "there is", "note is made of", "the study shows", "the radiograph demonstrates"),
    "heart": ("heart", "cardiac silhouette", "cardiac shadow", "cardiac contour"),
    "opacity": (
        *("consolidation", "consolidation", "airspace opacity", "airspace disease", "infiltrate"),
        *("parenchymal opacification", "alveolar consolidation"),
    ),
    "dense": ("", "", "focal", "patchy", "dense", "confluent", "ill-defined", "hazy"),
    "collapse": ("atelectasis", "atelectasis", "subsegmental atelectasis", "volume loss", "linear atelectasis"),
    "edge": ("", "", "well-circumscribed", "spiculated", "lobulated", "rounded", "smoothly marginated", "irregular"),
    "kerley": ("septal lines", "Kerley B lines", "interstitial thickening", "peribronchial cuffing", "cephalization"),
    "wedge": ("compression fracture", "compression deformity", "wedge fracture", "wedge-shaped compression fracture"),
    "position": (
        *("in standard position", "in satisfactory position", "in expected location"),
        *("appropriately positioned", "well placed"),
    ),
    "angles": ("angles", "sulci", "recesses"),
    "certain": ("", "", "", "likely", "probable", "possible", "suspected"),
    "sure": ("", "", "", "obvious", "definite"),
}

GRADES = {
    "small": ("small", "small", "tiny", "minor", "minimal"),
    "moderate": ("moderate",),
    "moderate_volume": ("moderate", "moderate", "medium-sized"),
    "large": ("large", "large", "sizable", "extensive", "substantial"),
    "mild": ("mild", "mild", "slight", "subtle", "minimal"),
    "severe": ("severe", "severe", "marked", "pronounced", "advanced"),
}
ADVERBS = {
    "mild": ("mildly", "mildly", "slightly", "minimally"),
    "moderate": ("moderately",),
    "severe": ("severely", "markedly", "massively", "grossly"),
}

AREAS = {
    ("right", "upper"): ("the right upper lobe", "the right upper lung zone", "the upper right lung"),
    ("right", "mid"): ("the right middle lobe", "the right mid lung zone", "the right midlung"),
    ("right", "lower"): ("the right lower lobe", "the right lung base", "the right lower lung zone", "the right base"),
    ("left", "upper"): ("the left upper lobe", "the left upper lung zone", "the upper left lung"),
    ("left", "mid"): ("the lingula", "the left mid lung zone", "the left midlung"),
    ("left", "lower"): ("the left lower lobe", "the left lung base", "the left lower lung zone", "the left base"),
    ("left", "retrocardiac"): ("the left retrocardiac region", "the left lower lobe behind the heart"),
    ("both", "lower"): ("both lung bases", "both lower lobes", "the lower lungs bilaterally"),
    ("both", "mid"): ("both mid lung zones", "the right middle lobe and lingula", "the midlung bilaterally"),
}
ZONES = {
    ("right", "upper"): ("right upper lobe", "right suprahilar", "right upper zone"),
    ("right", "mid"): ("right middle lobe", "right midlung", "right mid zone"),
    ("right", "lower"): ("right lower lobe", "right basilar", "right basal", "right lower zone"),
    ("left", "upper"): ("left upper lobe", "left suprahilar", "left upper zone"),
    ("left", "mid"): ("lingular", "left midlung", "left mid zone"),
    ("left", "lower"): ("left lower lobe", "left basilar", "left basal", "left lower zone"),
    ("left", "retrocardiac"): ("left retrocardiac", "retrocardiac left lower lobe"),
    ("both", "lower"): ("bibasilar", "bilateral basilar", "bilateral lower lobe", "bibasal"),
    ("both", "mid"): ("bilateral midlung", "bilateral mid zone"),
}
# Where an effusion lies, and the recess or recesses that it blunts.
EFFUSION_PLACES = {
    "posterior": {
        "place": ("posteriorly", "in the posterior recess", "in the posterior gutter", "dependently"),
        "recess": ("posterior costophrenic angle", "posterior sulcus"),
        "recesses": ("posterior costophrenic angles", "posterior sulci"),
    },
    "basal": {
        "place": ("basally", "inferiorly", "dependently", "along the diaphragm"),
        "recess": ("costophrenic angle", "costophrenic sulcus"),
        "recesses": ("costophrenic angles", "costophrenic sulci"),
    },
}
_ORDINALS = ("third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
RIBS = {f"rib_{n}": (word, f"{n}th" if n > 3 else "3rd") for n, word in enumerate(_ORDINALS, start=3)}
DISPLACEMENTS = {
    "mild": ("nondisplaced", "hairline", "non-displaced"),
    "moderate": ("minimally displaced", "mildly angulated"),
    "severe": ("displaced", "severely displaced", "markedly angulated"),
}

CAUSES = {
    "cardiomegaly": ("cardiomyopathy", "longstanding hypertension", "chamber dilatation"),
    "pleural_effusion": ("volume overload", "hypoalbuminemia", "an inflammatory process"),
    "pneumothorax": ("barotrauma", "a spontaneous air leak", "a recent procedure"),
    "consolidation": ("pneumonia", "pneumonia", "aspiration", "infection", "bronchopneumonia"),
    "atelectasis": ("mucus plugging", "splinting", "hypoventilation", "poor inspiratory effort"),
    "edema": ("congestive heart failure", "fluid overload", "decompensated failure"),
    "nodule": ("a granuloma", "a primary neoplasm", "metastasis", "a hamartoma"),
    "mass": ("malignancy", "bronchogenic carcinoma", "a primary tumor", "neoplasm"),
    "emphysema": ("chronic obstructive disease", "longstanding tobacco use"),
    "hiatal_hernia": ("laxity of the hiatus",),
    "rib_fracture": ("recent injury", "blunt trauma"),
    "vertebral_fracture": ("osteoporosis", "osteopenia", "an old injury"),
}
# What an opacity is (a guess at its nature), and what brought a finding about.
NATURE = (
    *("", "", ", which may represent {cause}", ", suspicious for {cause}", ", possibly {cause}"),
    *(", concerning for {cause}", ", could reflect {cause}", ", worrisome for {cause}", ", likely {cause}"),
)
ORIGIN = ("", "", "", ", likely due to {cause}", ", possibly from {cause}", ", which may relate to {cause}")

# Keyed by finding, or by finding and variant; the sentence of FINDINGS.
DESCRIPTIONS: dict[str, tuple[str, ...]] = {
    "cardiomegaly": (
        "the {heart} is {adverb} enlarged{hedge}",
        "{grade} cardiomegaly {noted}{hedge}",
        "{there} {grade} enlargement of the {heart}",
        "the cardiothoracic ratio is increased, in keeping with {grade} cardiomegaly",
        "the transverse diameter of the heart is {adverb} increased, consistent with cardiomegaly",
    ),
    "pleural_effusion": (
        "{there} a {grade} {side} pleural effusion {place}{hedge}",
        "a {grade} {side} pleural effusion {noted} {place}",
        "blunting of the {side} {recess} indicates a {grade} effusion",
        "{grade} amount of {side} pleural fluid {noted} {place}",
        "{grade} {side}-sided effusion layers {place}{hedge}",
    ),
    "pleural_effusion_both": (
        "{there} {grade} bilateral pleural effusions {place}{hedge}",
        "{grade} bilateral pleural effusions {are_noted}",
        "blunting of both {recesses} indicates {grade} effusions",
        "bilateral {grade} pleural fluid collections {are_noted} {place}",
    ),
    "pneumothorax": (
        "{there} a {grade} {side} apical pneumothorax{hedge}",
        "a {sure} {grade} pneumothorax {noted} at the {side} apex",
        "a visceral pleural line at the {side} apex indicates a {grade} pneumothorax",
        "{grade} {side}-sided pneumothorax, apical, {noted}",
        "{grade} collection of pleural air over the {side} apex, consistent with pneumothorax",
    ),
    "consolidation": (
        "{there} a {grade} {dense} {opacity} in {area} {seen}{hedge}",
        "{dense} {opacity}, {grade} in extent, {noted} in {area} {seen}",
        "a {grade} {zone} {opacity} {noted} {seen}{hedge}",
        "{area} shows {grade} {opacity} with air bronchograms",
        "{area} contains a {grade} area of {dense} {opacity}{hedge}",
    ),
    "atelectasis": (
        "{there} {grade} {zone} {collapse}{hedge}",
        "{grade} {collapse} {noted} in {area}",
        "{grade} streaky densities in {area} are consistent with atelectasis{hedge}",
        "{grade} bandlike atelectasis involves {area}",
        "crowding of vessels in {area} reflects {grade} atelectasis",
    ),
    "edema": (
        "{there} {grade} pulmonary edema{hedge}",
        "{grade} perihilar haze with {kerley} indicates edema",
        "bilateral perihilar opacities and {kerley} are compatible with {grade} pulmonary edema",
        "the pulmonary vasculature is indistinct with {kerley}, in keeping with {grade} edema{hedge}",
        "vascular engorgement with {grade} interstitial edema {noted}",
    ),
    "nodule": (
        "{there} a {size} {edge} nodule in {area} {seen}{hedge}",
        "a {edge} nodule measuring {size} {noted} in {area}",
        "a {size} {zone} pulmonary nodule {noted} {seen}{hedge}",
        "{area} contains a {edge} nodular density of {size}",
        "projecting over {area} is a {size} lung nodule{hedge}",
    ),
    "mass": (
        "{there} a large {size} {edge} mass in {area} {seen}{hedge}",
        "a {edge} mass measuring {size} {noted} in {area}",
        "a {size} {zone} lung mass {noted} {seen}{hedge}",
        "{area} is occupied by a {edge} mass of {size}",
        "a bulky masslike lesion, {size} across, projects over {area}{hedge}",
    ),
    "emphysema": (
        "the lungs are {adverb} hyperinflated with flattened diaphragms, consistent with emphysema",
        "{grade} emphysematous changes {are_noted}{hedge}",
        "hyperexpansion and attenuated peripheral vessels reflect {grade} emphysema",
        "{there} {grade} emphysema with increased lucency bilaterally",
        "{grade} hyperinflation with flattening of the hemidiaphragms suggests emphysema{hedge}",
    ),
    "hiatal_hernia": (
        "{there} a {grade} hiatal hernia {seen}{hedge}",
        "a {grade} retrocardiac density containing an air-fluid level represents a hiatal hernia",
        "{grade} hiatus hernia {noted} behind the heart {seen}",
        "part of the stomach projects above the diaphragm, compatible with a {grade} hiatal hernia",
    ),
    "rib_fracture": (
        "{there} a {displaced} fracture of the {side} {rib} rib{hedge}",
        "a {displaced} {side} {rib} rib fracture {noted}",
        "cortical discontinuity of the {rib} rib on the {side} represents a {displaced} fracture",
        "the {side} {rib} rib is fractured and {displaced}{hedge}",
    ),
    "vertebral_fracture": (
        "{there} a {grade} {wedge} of {level} {seen}{hedge}",
        "{grade} anterior height loss of the {level} vertebral body represents a compression fracture",
        "the {level} vertebra shows a {grade} {wedge} {seen}",
        "a {grade} {wedge} {noted} at {level}{hedge}",
    ),
    "endotracheal_tube": (
        "an endotracheal tube {noted} with its tip above the carina",
        "the endotracheal tube is {position}",
        "the patient is intubated, with the endotracheal tube terminating in the mid trachea",
    ),
    "central_line": (
        "a {side} central venous catheter terminates in the superior vena cava",
        "{side}-sided central line {noted}, its tip near the cavoatrial junction",
        "{side} central venous line is {position}",
    ),
    "pacemaker": (
        "a {side} chest wall pacemaker {noted} with leads projecting over the heart",
        "{side}-sided cardiac pacemaker generator and leads {are_noted}",
        "{side} pectoral pacemaker device is {position}",
    ),
    "nasogastric_tube": (
        "a nasogastric tube courses below the diaphragm into the stomach",
        "the enteric tube is {position}, its side port in the stomach",
        "nasogastric tube tip projects over the left upper quadrant",
    ),
    "sternotomy_wires": (
        "median sternotomy wires are aligned and unbroken",
        "sternotomy wires {are_noted} from prior cardiac surgery",
        "the patient has undergone median sternotomy with wires {position}",
    ),
}

# The short phrases of IMPRESSION, keyed as `DESCRIPTIONS`; `some` is a grade or nothing, as hospitals write.
SUMMARIES: dict[str, tuple[str, ...]] = {
    "cardiomegaly": ("{certain} {some} cardiomegaly", "{some} enlargement of the heart", "{adverb} enlarged heart"),
    "pleural_effusion": ("{some} {side} pleural effusion", "{certain} {some} {side} effusion"),
    "pleural_effusion_both": ("{some} bilateral pleural effusions", "bilateral effusions, {grade}"),
    "pneumothorax": ("{some} {side} pneumothorax", "{side} apical pneumothorax, {grade}"),
    "consolidation": ("{zone} {opacity}{hedge}", "{grade} {zone} {opacity}{hedge}", "{opacity} in {area}{hedge}"),
    "atelectasis": ("{some} {zone} atelectasis", "{certain} {zone} atelectasis", "{zone} {collapse}, {grade}"),
    "edema": ("{some} pulmonary edema{hedge}", "{certain} {some} interstitial edema", "edema, {grade}"),
    "nodule": ("{size} {zone} nodule{hedge}", "{certain} nodule in {area}, {size}", "{zone} pulmonary nodule{hedge}"),
    "mass": ("{size} {zone} mass{hedge}", "mass in {area}{hedge}", "large {zone} lung mass of {size}"),
    "emphysema": ("{some} emphysema", "emphysematous change, {grade}", "{certain} {some} emphysema"),
    "hiatal_hernia": ("{some} hiatal hernia", "hiatus hernia, {grade}", "{certain} {some} hiatal hernia"),
    "rib_fracture": ("{displaced} {side} {rib} rib fracture", "{side} {rib} rib fracture, {displaced}"),
    "vertebral_fracture": ("{some} {level} {wedge}", "{certain} {wedge} of {level}", "{wedge} at {level}, {grade}"),
    "endotracheal_tube": ("endotracheal tube {position}", "intubated patient, tube above the carina"),
    "central_line": ("{side} central venous catheter {position}", "{side} central line in place"),
    "pacemaker": ("{side} pacemaker in place", "{side} cardiac pacemaker device"),
    "nasogastric_tube": ("nasogastric tube in the stomach", "enteric tube {position}"),
    "sternotomy_wires": ("prior median sternotomy", "postoperative sternotomy wires"),
}
