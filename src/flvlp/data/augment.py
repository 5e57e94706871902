"""Random changes of a training picture with its mask or boxes, drawn from (seed, epoch, study) like every crop."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from flvlp.data.config import AugmentConfig

MIN_SIDE = 1.0  # pixels; boxes that a change leaves with less are gone


class Augment:
    """torchvision's affine and grey-level changes, as `AugmentConfig` says."""

    def __init__(self, config: AugmentConfig) -> None:
        self.has_boxes_left = v2.Compose([v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(min_size=MIN_SIDE)])
        steps: list[v2.Transform] = []
        if config.degrees or config.translate or config.scale:
            scale = (1 - config.scale, 1 + config.scale)
            shift = (config.translate, config.translate)
            steps.append(v2.RandomAffine(config.degrees, shift, scale, interpolation=v2.InterpolationMode.BILINEAR))
        if config.brightness or config.contrast:
            steps.append(v2.ColorJitter(brightness=config.brightness, contrast=config.contrast))
        self.change = v2.Compose(steps) if steps else None

    def view(self, picture: np.ndarray, key: Sequence[int]) -> np.ndarray:
        """Changes a picture (H, W) uint8; `key` (integers) alone decides how."""
        return self._drawn(key, tv_tensors.Image(picture[None].copy()))[0][0].numpy()

    def with_mask(self, picture: np.ndarray, mask: np.ndarray, key: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Changes a picture (H, W) uint8 and its mask (H, W) bool alike."""
        image, moved = self._drawn(key, tv_tensors.Image(picture[None].copy()), tv_tensors.Mask(mask.copy()))
        return image[0].numpy(), moved.numpy()

    def with_boxes(
        self, picture: np.ndarray, boxes: np.ndarray, classes: np.ndarray, key: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Changes a picture (H, W) uint8 and its boxes (n, 4) left, top, right, bottom alike.

        Returns:
            picture, boxes (m, 4) and classes (m,) of those of which something is left; a turned box becomes the upright
            box around it.
        """
        marked = tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=picture.shape)
        image, moved = self._drawn(key, tv_tensors.Image(picture[None].copy()), marked)
        left = self.has_boxes_left({"boxes": moved, "labels": torch.from_numpy(classes)})
        return image[0].numpy(), left["boxes"].numpy().astype(np.float32), left["labels"].numpy()

    def _drawn(self, key: Sequence[int], *items: Tensor) -> list[Tensor]:
        """Applies the change that `key` draws; the global generator is left as it was."""
        if self.change is None:
            return list(items)
        seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would move the generators of GPUs as well
            changed = self.change(*items)
        return [changed] if len(items) == 1 else list(changed)
