"""Where a run stands, counted so that it can go on with steps of another size."""

import logging
from dataclasses import dataclass, fields
from typing import Any

log = logging.getLogger(__name__)


@dataclass(slots=True)
class TrainState:
    """Where a run stands.

    Attributes:
        step: optimiser steps taken.
        judged_step: `step` when the model was last judged, by `end_judging`.
        epoch: epochs finished, their validation included.
        epoch_step: steps of the next epoch that are taken; all of them between its last step and its validation.
        steps_per_epoch, studies_per_step: of the processes that count so, all ranks together; 0 before the first start.
        studies: studies seen by all ranks.
        skipped: studies of all ranks masked because an image could not be read.
        left_out: steps that changed nothing because their gradient was not finite.
        left_out_in_a_row: how many of these are the last steps.
        best: best value of `engine.best_metric` so far.
    """

    step: int = 0
    judged_step: int = 0
    epoch: int = 0
    epoch_step: int = 0
    steps_per_epoch: int = 0
    studies_per_step: int = 0
    studies: int = 0
    skipped: int = 0
    left_out: int = 0
    left_out_in_a_row: int = 0
    best: float | None = None

    @classmethod
    def read(cls, saved: dict[str, Any]) -> "TrainState":
        """Returns what `asdict` gave, fields of other versions left out.

        Raises:
            ValueError: a count that is none.
            TypeError: another field that is not what a run writes.
            KeyError: the epoch in progress is not told; a version wrote it that did not count so.
        """
        known = {field.name for field in fields(cls)}
        state = cls(**{name: value for name, value in saved.items() if name in known})
        for name in known - {"best"}:
            value = getattr(state, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"{name} is {value!r}, no count")
        if not isinstance(state.best, float | int | None):
            raise TypeError(f"best is {state.best!r}, no figure")
        if "epoch_step" not in saved:
            raise KeyError("epoch_step")
        if "judged_step" not in saved and state.epoch_step == 0:  # a version that did not note it has ended an epoch
            state.judged_step = state.step
        return state

    @property
    def is_judged(self) -> bool:
        """Whether the model has been judged since its last step."""
        return self.judged_step == self.step

    def end_judging(self) -> None:
        """Notes that the model has been judged, which ends an epoch whose steps are all taken."""
        self.judged_step = self.step
        if self.epoch_step == self.steps_per_epoch:
            self.epoch, self.epoch_step = self.epoch + 1, 0

    @property
    def position(self) -> int:
        """Steps of the present size that the schedule has behind it; `step` unless their size has changed."""
        return self.epoch * self.steps_per_epoch + self.epoch_step

    def count_by(self, steps_per_epoch: int, studies_per_step: int, *, has_buckets: bool = False) -> None:
        """Goes on in steps of this size: what a step would have seen in part is seen again.

        An epoch is the same permutation of the studies whatever the number of processes (docs/paper.md section 6), so
        the studies that were seen are its first `epoch_step * studies_per_step`. With buckets (`engine.bucket_steps`)
        it is another one, of which that many first ones are left out all the same.
        """
        earlier = self.steps_per_epoch, self.studies_per_step
        self.steps_per_epoch, self.studies_per_step = steps_per_epoch, studies_per_step
        if 0 in earlier or earlier == (steps_per_epoch, studies_per_step):
            return
        is_complete = self.epoch_step >= earlier[0]
        seen = self.epoch_step * earlier[1]
        self.epoch_step = steps_per_epoch if is_complete else min(seen // studies_per_step, steps_per_epoch)
        log.warning(
            "resume: a step took %d studies, now %d: epoch %d goes on after step %d of %d, the learning rate where it "
            "stood; %d studies are seen a second time%s",
            earlier[1],
            studies_per_step,
            self.epoch + 1,
            self.epoch_step,
            steps_per_epoch,
            0 if is_complete else seen - self.epoch_step * studies_per_step,
            ", and others too: engine.bucket_steps orders an epoch by the size of a step" if has_buckets else "",
        )
