"""The data-dependent start of the projections."""

import pytest
import torch

from tests.builders import encoder_config, image_config, make_batch, make_model, rows_of

BATCH = make_batch([True, False, True, True, False, True], is_valid=[True, True, False, True, True, True])


def spread(features: torch.Tensor) -> float:
    """Mean cosine between different rows; 1 when all are parallel."""
    rows = torch.nn.functional.normalize(features, dim=-1)
    size = len(rows)
    return float(((rows @ rows.T).sum() - size) / (size * (size - 1)))


@pytest.mark.parametrize("adapter", ["linear", "mlp"])
@torch.no_grad()
def test_pooled_features_of_the_batch_have_mean_zero_afterwards(adapter: str) -> None:
    model = make_model(encoder=encoder_config(lateral=image_config(adapter=adapter)))
    encoders = model.encoders.eval()
    before = spread(encoders.encode_views(BATCH).frontal[BATCH.is_valid])
    encoders.center([rows_of(BATCH, [0, 1, 2]), rows_of(BATCH, [3, 4, 5])])
    views, report = encoders.encode_views(BATCH), encoders.encode_text(BATCH.tokens, BATCH.is_token).report
    fused = encoders.fuse(views.frontal, views.lateral, views.has_lateral)
    means = {
        "frontal": views.frontal[BATCH.is_valid].mean(dim=0),
        "lateral": views.lateral[BATCH.has_lateral].mean(dim=0),
        "fused": fused[BATCH.is_valid].mean(dim=0),
        "report": report[BATCH.is_valid].mean(dim=0),
    }
    for name, mean in means.items():
        assert float(mean.abs().max()) < 1e-5, f"{name}: largest mean {float(mean.abs().max())}"
    after = spread(views.frontal[BATCH.is_valid])
    assert after < 0.5 < before, f"mean cosine between studies {before:.3f} before, {after:.3f} after"


def test_the_mode_is_kept_and_a_batch_without_lateral_is_taken() -> None:
    model = make_model().train()
    model.encoders.center([make_batch([False, False, False])])
    assert model.encoders.training
