"""Two gloo processes give the gradient of the full batch; they are started once for all tests of this file."""

from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing

from flvlp.losses.view_alignment import view_alignment_loss
from tests.builders import ALL_TERMS
from tests.losses import ranks
from tests.losses.ranks import LAYOUTS, RANKS, linear_gradients, negatives_batch, negatives_model, step_gradients

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Returns what the two ranks found."""
    folder = tmp_path_factory.mktemp("two processes")
    multiprocessing.spawn(ranks.work, args=(str(folder),), nprocs=RANKS)
    return ranks.read(folder)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], what: str) -> None:
    """Compares gradients name by name, at rtol 1e-5 of the largest entry."""
    assert set(found) == set(expected), f"{what}: {set(found) ^ set(expected)} on one side only"
    for name, wanted in expected.items():
        difference, scale = float((found[name] - wanted).abs().max()), float(wanted.abs().max())
        assert difference <= 1e-5 * scale + 1e-7, f"{what}: {name} {found[name]}, full batch {wanted}"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("term", sorted(ALL_TERMS))
def test_the_gradient_of_a_term_is_that_of_the_full_batch(results: Results, term: str, layout: str) -> None:
    expected = linear_gradients(term, layout, range(RANKS))
    for rank in range(RANKS):
        for step, (found, wanted) in enumerate(zip(results[rank][f"{term}, {layout}"], expected, strict=True)):
            assert_same(found, wanted, f"rank {rank}, step {step}")


def test_the_queue_matters_in_the_second_step_of_that_test() -> None:
    with_queue = linear_gradients("prototype", "unequal", range(RANKS))[1]["loss"]
    model = ranks.LinearModel("prototype")
    output = model(ranks.linear_inputs("unequal", 1, range(RANKS)))
    without = ranks.LossSum(ranks.CONFIG, frozenset({"prototype"}))(
        output, ranks.Counts(torch.tensor(1.0), torch.tensor(1.0))
    )["total"]
    assert abs(float(with_queue - without)) > 1e-4, f"{with_queue} with the first batch queued, {without}"


@pytest.mark.parametrize(
    ("name", "terms", "micro_batches"),
    [
        ("all terms", ALL_TERMS, 1),
        ("accumulated", frozenset({"mlm", "view_alignment"}), 2),
        ("cached", ALL_TERMS, 2),
    ],
)
def test_a_step_of_the_real_model_has_the_gradient_of_the_full_batch(
    results: Results, name: str, terms: frozenset[str], micro_batches: int
) -> None:
    assert micro_batches in (1, 2)
    expected = step_gradients(terms, range(RANKS), 1)
    for rank in range(RANKS):
        found = results[rank][name]
        assert set(found) == set(expected)
        for key, wanted in expected.items():
            difference, scale = float((found[key] - wanted).abs().max()), float(wanted.abs().max())
            assert difference <= 1e-4 * scale + 1e-6, f"rank {rank}, {key}: {found[key]}, full batch {wanted}"


def test_lateral_negatives_are_those_of_the_own_rank_and_the_mean_is_over_all_words(results: Results) -> None:
    model = negatives_model()
    batches = [negatives_batch(rank) for rank in range(RANKS)]
    words = sum(int(batch.is_word[row].sum()) for batch in batches for row in batch.lateral_rows)
    for batch in batches:
        output = model(batch)
        assert output.alignment is not None
        (view_alignment_loss(output.alignment, 0.07) / words).backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for rank in range(RANKS):
        assert_same(results[rank]["negatives"], expected, f"rank {rank}")


def test_rows_of_unequal_number_are_gathered_in_rank_order(results: Results) -> None:
    for rank in range(RANKS):
        found = results[rank]["gathered"]
        assert torch.equal(found["float rows"], torch.arange(6.0).view(3, 2)), f"{found['float rows']}, 3 rows + none"
        assert found["integer rows"].tolist() == [0, 1, 1], f"{found['integer rows']}, expected [0, 1, 1]"


def test_masks_of_all_ranks_are_gathered_one_a_row(results: Results) -> None:
    for rank in range(RANKS):
        found = results[rank]["gathered"]["masks"].tolist()
        expected = [[True, False, True, True], [True, False, False, False]]
        assert found == expected, f"rank {rank}: {found}, expected {expected}"


def test_a_gathered_row_gets_the_sum_of_what_all_ranks_want_of_it(results: Results) -> None:
    coefficients = torch.arange(12.0).view(4, 3)
    for rank in range(RANKS):
        found = results[rank]["gathered"]
        rows = torch.tensor([1.0, 1, 2, 2])[:, None].expand(4, 3)
        assert torch.equal(found["gathered"], rows), f"{found['gathered']}, expected {rows}"
        expected = (1 + 2) * coefficients[2 * rank : 2 * rank + 2] * (rank + 1)
        assert torch.equal(found["own gradient"], expected), f"rank {rank}: {found['own gradient']}, {expected}"


def test_gathering_leaves_the_gradient_of_other_tensors_alone(results: Results) -> None:
    for rank in range(RANKS):
        found, expected = results[rank]["gathered"]["gradient beside"], 2 * (rank + 1) * torch.arange(12.0).view(4, 3)
        assert torch.equal(found, expected), f"rank {rank}: {found}, its own coefficients {expected}"


def test_sums_and_objects_are_the_same_on_every_rank_and_arguments_are_left_alone(results: Results) -> None:
    for rank in range(RANKS):
        found = results[rank]["gathered"]
        assert found["sum"].tolist() == [3.0], f"{found['sum']}, expected 1 + 2"
        assert found["summand"].tolist() == [rank + 1.0], f"{found['summand']}, expected {rank + 1}"
        assert found["objects"] == [{"rank": 0}, {"rank": 1}], f"{found['objects']}"
        assert found["broadcast"] == "from rank 0", f"{found['broadcast']}"
        assert found["shared weights"].tolist() == [[3.0, 3.0]] and found["is in no DDP"]


def test_without_a_process_group_every_collective_is_the_identity() -> None:
    assert ranks.distributed.world_size() == 1
    masks = [torch.tensor([True, False]), torch.tensor([False, False])]
    assert torch.equal(ranks.distributed.gather_masks(masks), torch.stack(masks))
    rows = torch.ones(2, 3)
    assert ranks.distributed.gather_rows(rows) is rows
    assert ranks.distributed.gather_with_grad(rows) is rows
