"""What training draws, and models that ranks would train apart."""

from typing import cast

import pytest
import torch
from torch import nn

from flvlp import distributed
from flvlp.engine.config import FitConfig
from flvlp.engine.fit import Fit
from flvlp.engine.log import RunLog
from tests.engine.small_tasks import Batches, Linear, Notes, classifier, criterion, drawn, picture_criterion, pictures


class Forgetful(Linear):
    """A linear layer behind dropout."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.dropout(features, training=self.training))


class Normed(Linear):
    """A linear layer behind BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)


def trained(seed: int) -> torch.Tensor:
    """Returns the weights after an epoch with dropout."""
    model, batches = Forgetful(), Batches([drawn(8)])
    fit = Fit(model, criterion, FitConfig(epochs=1, lr=0.1, precision="fp32", num_workers=0), 1)
    fit.run(batches, batches, None, metric="none", run_log=cast(RunLog, Notes()), seed=seed)
    return model.head.weight.detach()


def test_dropout_is_drawn_from_the_seed_and_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    first = trained(0)
    torch.rand(3)  # what was drawn before changes nothing
    assert torch.equal(first, trained(0))
    assert not torch.equal(first, trained(5))
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    assert not torch.equal(first, trained(0)), "two ranks would drop the same"


def test_statistics_that_every_rank_would_have_of_its_own_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = FitConfig(epochs=1, precision="fp32", num_workers=0)
    Fit(Normed(), criterion, config, 1)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(ValueError, match=r"norm is a BatchNorm.*sync_batch"):
        Fit(Normed(), criterion, config, 1)


def test_training_pictures_that_cannot_be_read_are_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    model, batches = classifier(), Batches([pictures([True, False]), pictures([False, True])])
    batches.parts[1].is_valid[0] = False
    fit = Fit(model, picture_criterion, FitConfig(epochs=2, precision="fp32", num_workers=0), 2)
    fit.run(batches, batches, None, metric="none", run_log=cast(RunLog, Notes()))
    told = [record.getMessage() for record in caplog.records if "cannot be read" in record.getMessage()]
    assert told == ["1 pictures of an epoch cannot be read and train nothing"]
