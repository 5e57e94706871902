"""The weighted sum of the terms."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from flvlp.losses.config import (
    ITCConfig,
    LossConfig,
    MLMConfig,
    PrototypeConfig,
    ViewAlignmentConfig,
)
from flvlp.losses.total import LossSum
from flvlp.types import Counts, Output
from tests.builders import ALL_TERMS, counts_of, heads_config, make_batch, make_model, rows_of

WEIGHTS = {"itc": 0.5, "mlm": 2.0, "view_alignment": 3.0, "prototype": 0.25}
WEIGHTED = LossConfig(
    ITCConfig(weight=0.5), MLMConfig(weight=2.0), ViewAlignmentConfig(weight=3.0), PrototypeConfig(weight=0.25)
)
BATCH = make_batch([True, False, True, True, False], is_valid=[True, True, True, False, True])


def test_the_total_is_the_weighted_sum_of_the_terms() -> None:
    terms = LossSum(WEIGHTED, ALL_TERMS)(make_model()(BATCH), counts_of(BATCH))
    expected = sum(weight * float(terms[name]) for name, weight in WEIGHTS.items())
    assert set(terms) == {*WEIGHTS, "total"}
    assert float(terms["total"]) == pytest.approx(expected, rel=1e-6), f"total {terms['total']}, sum {expected}"


def test_every_weight_is_one_by_default() -> None:
    terms = LossSum(LossConfig(), ALL_TERMS)(make_model()(BATCH), counts_of(BATCH))
    expected = sum(float(terms[name]) for name in ALL_TERMS)
    assert float(terms["total"]) == pytest.approx(expected, rel=1e-6), f"total {terms['total']}, sum {expected}"


@pytest.mark.parametrize("term", sorted(ALL_TERMS))
def test_a_term_of_weight_zero_is_not_run(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(LossConfig(), **{term: replace(getattr(LossConfig(), term), weight=0.0)})
    assert config.active() == ALL_TERMS - {term}, f"active {config.active()}"
    criterion = LossSum(config, config.active())

    def fail(*_: object) -> None:
        raise AssertionError(f"{term} has weight 0 and was run")

    monkeypatch.setattr(criterion, f"_{term}", fail)
    terms = criterion(make_model(config.active())(BATCH), counts_of(BATCH))
    assert set(terms) == config.active() | {"total"}, f"terms {set(terms)}"


@pytest.mark.parametrize("term", sorted(ALL_TERMS))
def test_a_term_has_the_same_value_whatever_runs_beside_it(term: str) -> None:
    output = make_model()(BATCH)
    among = float(LossSum(LossConfig(), ALL_TERMS)(output, counts_of(BATCH))[term])
    alone = float(LossSum(LossConfig(), frozenset({term}))(output, counts_of(BATCH))[term])
    assert among == alone, f"{term} {among} among all, {alone} alone"


@pytest.mark.parametrize("term", ["mlm", "view_alignment"])
@pytest.mark.parametrize("cut", [1, 3])
def test_uneven_micro_batches_sum_to_the_full_batch_for_terms_of_tokens(term: str, cut: int) -> None:
    model, criterion = make_model(), LossSum(LossConfig(), frozenset({term}))
    parts = [rows_of(BATCH, range(cut)), rows_of(BATCH, range(cut, 5))]
    counts = counts_of(*parts)
    whole = float(criterion(model(BATCH), counts_of(BATCH))[term])
    summed = sum(float(criterion(model(part), counts)[term]) for part in parts)
    assert summed == pytest.approx(whole, rel=1e-5), f"{term}: micro-batches sum to {summed}, full batch {whole}"


@pytest.mark.parametrize("term", ["itc", "prototype"])
def test_terms_of_studies_are_averaged_over_micro_batches(term: str) -> None:
    output, criterion = make_model()(BATCH), LossSum(LossConfig(), frozenset({term}))
    one = counts_of(BATCH)
    whole, quarter = (float(criterion(output, replace(one, micro_batches=count))[term]) for count in (1, 4))
    assert quarter == pytest.approx(whole / 4, rel=1e-6), f"{quarter} as one of four micro-batches, {whole} alone"


def test_all_losses_run_in_single_precision_with_autocast_off() -> None:
    output = make_model(heads=heads_config(lateral_negatives=2))(BATCH)
    criterion = LossSum(LossConfig(), ALL_TERMS)
    expected = criterion(output, counts_of(BATCH))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = criterion(output, counts_of(BATCH))
    for name, value in expected.items():
        assert found[name].dtype == torch.float32, f"{name} is {found[name].dtype}"
        assert float(found[name]) == float(value), f"{name} {found[name]} under autocast, {value} without"


LossPart = ITCConfig | MLMConfig | ViewAlignmentConfig | PrototypeConfig


@pytest.mark.parametrize(
    "make", [lambda: LossConfig(itc=ITCConfig(weight=-1)), lambda: LossConfig(mlm=MLMConfig(-0.1))]
)
def test_a_negative_weight_is_refused(make: Callable[[], LossConfig]) -> None:
    with pytest.raises(ValueError, match="weight: must lie in"):
        make()


@pytest.mark.parametrize(("term", "name"), [(ITCConfig, "itc"), (PrototypeConfig, "prototype")])
@pytest.mark.parametrize("temperature", [0, -1])
def test_a_temperature_that_is_not_positive_is_refused(term: type[LossPart], name: str, temperature: float) -> None:
    with pytest.raises(ValueError, match=f"loss.{name}.temperature: must lie in"):
        term(temperature=temperature)  # type: ignore[call-arg]


def test_unknown_negatives_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="words, laterals"):
        ViewAlignmentConfig(negatives="lateral")


def test_no_valid_study_gives_a_total_of_zero_with_a_graph() -> None:
    batch = make_batch([True, False], is_valid=[False, False])
    model = make_model()
    output: Output = model(batch)
    counts: Counts = counts_of(batch)
    total = LossSum(LossConfig(), ALL_TERMS)(output, counts)["total"]
    total.backward()
    assert float(total) == 0, f"total {float(total)}, expected 0"
    gradients = [float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None]
    assert max(gradients) == 0, f"largest gradient {max(gradients)}, expected 0"


def test_the_prototype_term_counts_from_its_start_epoch_on() -> None:
    criterion = LossSum(replace(LossConfig(), prototype=PrototypeConfig(start_epoch=2.0)), ALL_TERMS)
    model = make_model()
    for epoch, counts in ((1.9, False), (2.0, True)):
        terms = criterion(model(BATCH), replace(counts_of(BATCH), epoch=epoch))
        expected = sum(float(value.detach()) for name, value in terms.items() if name not in ("total", "prototype"))
        expected += counts * float(terms["prototype"].detach())
        assert float(terms["total"].detach()) == pytest.approx(expected, rel=1e-6), f"epoch {epoch}"
        terms["total"].backward()
        assert model.prototypes.grad is not None, f"epoch {epoch}: DDP would wait for the prototypes' gradient"
