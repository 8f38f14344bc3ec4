"""The records put together: the classes of channels, who touches them, and which of them may vanish."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from netslim.dependency.equivalence import Ints, equivalence_classes
from netslim.dependency.records import NormLayer, TraceRecords
from netslim.errors import ModelError

__all__ = ["DependencyGraph"]

Bools = npt.NDArray[np.bool_]


@dataclass(eq=False)
class DependencyGraph:
    """A class of channels is a set of places that can only go together.

    A *position* is one channel of one BatchNorm; positions are numbered through, BatchNorm by BatchNorm.
    A class may vanish when every BatchNorm that reads it or feeds it removes its position there. Everything
    else that a network needs of a removed channel is proven beforehand, or the class is frozen.
    """

    records: TraceRecords
    factor_reasons: Ints = field(init=False)
    """For each position, the reason why its own factor may not go, or 0; see `why`."""

    @cached_property
    def norms(self) -> list[NormLayer]:
        return list(self.records.norms.values())

    def __post_init__(self) -> None:
        records = self.records
        self.factor_reasons = np.zeros(self.norm_of_factor.size, dtype=np.int64)
        users = Counter(path for norm in self.norms for path in norm.vectors)
        for norm, (start, stop) in zip(self.norms, pairwise(self.norm_starts), strict=True):
            why = next((records.kept_whole[path] for path in norm.vectors if path in records.kept_whole), "")
            if why or any((path, 0) in records.axes or users[path] > 1 for path in norm.vectors):
                records.mark_unprunable(
                    norm.output_labels, why or f"the factors of {norm.path} are used elsewhere as well"
                )
                self.factor_reasons[start:stop] = len(records.unprunable)

    @cached_property
    def class_of_label(self) -> Ints:
        """The class of each label."""
        return equivalence_classes(self.records.label_count, self.records.tied)

    @cached_property
    def class_count(self) -> int:
        return int(self.class_of_label.max(initial=-1)) + 1

    @cached_property
    def class_reasons(self) -> Ints:
        """For each class, 1 + the number of the first fact that freezes it, or 0."""
        reasons = np.zeros(self.class_count, dtype=np.int64)
        for number, frozen in reversed(list(enumerate(self.records.unprunable, start=1))):
            reasons[self.class_of_label[frozen.labels]] = number
        return reasons

    def reason_text(self, reason: int) -> str:
        return self.records.unprunable[reason - 1].reason

    def mark_unprunable(self, labels: Ints, reason: str) -> None:
        """Found later: these have to stay as well."""
        self.records.mark_unprunable(labels, reason)
        vars(self).pop("class_reasons", None)

    @cached_property
    def norm_starts(self) -> Ints:
        """The first position of each BatchNorm, and one past the last of all."""
        return np.cumsum([0, *(norm.width for norm in self.norms)])

    @cached_property
    def norm_of_factor(self) -> Ints:
        """The BatchNorm of each position."""
        return np.repeat(np.arange(len(self.norms)), np.diff(self.norm_starts))

    @cached_property
    def input_class(self) -> Ints:
        """The class that each position reads."""
        read: Ints = self.class_of_label[
            np.concatenate([norm.input_labels[norm.input_index] for norm in self.norms])
        ]
        return read

    @cached_property
    def output_class(self) -> Ints:
        """The class that each position feeds."""
        fed: Ints = self.class_of_label[
            np.concatenate([norm.output_labels[norm.output_index] for norm in self.norms])
        ]
        return fed

    @cached_property
    def importance(self) -> npt.NDArray[np.float64]:
        """|gamma| of each position, raw.

        Raises:
            ModelError: one is NaN or infinite.
        """
        factors: npt.NDArray[np.float64] = np.abs(
            np.concatenate([self.records.values_of(norm.weight) for norm in self.norms])
        )
        wrong = np.flatnonzero(~np.isfinite(factors))
        if wrong.size:
            norm = self.norms[self.norm_of_factor[wrong[0]]]
            remedy = "Its training diverged; prune an earlier checkpoint, or train with a lower rate"
            raise ModelError("a scaling factor is NaN or infinite", field=norm.path, remedy=remedy)
        return factors

    def removed_labels(self, removed: Bools) -> Bools:
        """Which channels vanish when these positions go.

        Args:
            removed: bool[positions].

        Returns:
            bool[labels].
        """
        kept, gone = np.zeros((2, self.class_count), dtype=bool)
        going, staying = np.flatnonzero(removed), np.flatnonzero(~removed)
        for touched in (self.input_class, self.output_class):
            kept[touched[staying]] = True
            gone[touched[going]] = True
        vanishing = gone & ~kept & (self.class_reasons == 0)
        kinds, starts = self._outputs
        dead = np.logical_and.reduceat(vanishing[kinds], starts) if starts.size else starts
        vanishing[kinds[starts[dead]]] = False  # nobody reads this layer any more; it still has to be one
        found: Bools = vanishing[self.class_of_label]
        return found

    @cached_property
    def _outputs(self) -> tuple[Ints, Ints]:
        """The classes of all layers' outputs in a row, and where each layer begins."""
        outputs = [self.class_of_label[read.outputs] for read in self.records.weighted_layers.values()]
        starts = np.cumsum([0, *map(len, outputs)])[:-1]
        return np.concatenate([*outputs, self.class_of_label[:0]]), starts
