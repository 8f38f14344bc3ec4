"""The dependency graph: which channels are tied, which scaling factors decide on them, and which must stay.

The words for sets of indices, in this package and in `netslim.pruning`:

    label          The number of one channel of one tensor. Each convolution, linear layer and BatchNorm has
                   labels of its own for its outputs.
    tied channels  Labels of the same channel. They are removed together or not at all, such as the labels of
                   two tensors that are added.
    class          All labels that are tied to each other, directly or through others.
    factor         One scaling factor: one channel of one BatchNorm. They are numbered BatchNorm by BatchNorm.
    input class    The class that the BatchNorm of a factor reads at its place. It is removed only if the
                   factor is removed.
    output class   The class that the BatchNorm of a factor writes at its place; the same holds for it.
    block          Some labels of one tensor. Each of its blocks must lose equally many channels, such as the
                   inputs of each group of a grouped convolution.
    unprunable     A class that must stay, with the reason: an operation without a rule uses it, for example.

For example, two BatchNorms of 8 channels whose outputs are added, and read by a convolution with 4 outputs:

    labels   0-7 outputs of the first BatchNorm, 8-15 of the second, 16-19 of the convolution
    ties     (0, 8), (1, 9), ... (7, 15), by the addition; the inputs of the convolution are the labels 0-7
    classes  8 for the sum, 4 for the outputs of the convolution
    factors  0-7 and 8-15; factors 0 and 8 have the same output class, which is removed if both factors are
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from netslim.dependency.equivalence import Ints, equivalence_classes
from netslim.dependency.layer_records import NormLayer
from netslim.dependency.records import TraceRecords
from netslim.errors import ModelError

__all__ = ["Bools", "DependencyGraph"]

Bools = npt.NDArray[np.bool_]


@dataclass(eq=False)
class DependencyGraph:
    """The classes of channels, and the factors that decide on them.

    A class is removed when every BatchNorm that reads it or writes it removes its factor there, unless the
    class is unprunable. Whatever else the network needs of a removed channel was proven by the trace.

    Args:
        records: the records of a trace. Reasons that are found later are added to them.

    Attributes:
        factor_reasons: int64[factors], the number of the reason (see `reason_text`) why the factor itself
            must stay, or 0.
    """

    records: TraceRecords
    factor_reasons: Ints = field(init=False)
    _last_need: tuple[Bools, Bools] | None = field(default=None, init=False)

    @cached_property
    def norms(self) -> list[NormLayer]:
        """The BatchNorms with scaling factors, in the order in which they ran."""
        return list(self.records.norms.values())

    def __post_init__(self) -> None:
        records = self.records
        self.factor_reasons = np.zeros(self.norm_of_factor.size, dtype=np.int64)
        users = Counter(path for norm in self.norms for path in norm.vectors)
        for norm, (start, stop) in zip(self.norms, pairwise(self.norm_starts), strict=True):
            reasons = [records.kept_whole[path] for path in norm.vectors if path in records.kept_whole]
            if not reasons and any((path, 0) in records.axes or users[path] > 1 for path in norm.vectors):
                reasons = [f"the factors of {norm.path} are used elsewhere as well"]
            if reasons:
                records.mark_unprunable(norm.output_labels, reasons[0])
                self.factor_reasons[start:stop] = len(records.unprunable)

    @cached_property
    def class_of_label(self) -> Ints:
        """int64[labels], the class of each label."""
        return equivalence_classes(self.records.label_count, self.records.tied)

    @cached_property
    def class_count(self) -> int:
        """The number of classes."""
        return int(self.class_of_label.max(initial=-1)) + 1

    @cached_property
    def class_reasons(self) -> Ints:
        """int64[classes], the number of the first reason why the class must stay, or 0 for none."""
        reasons = np.zeros(self.class_count, dtype=np.int64)
        for number, unprunable in reversed(list(enumerate(self.records.unprunable, start=1))):
            reasons[self.class_of_label[unprunable.labels]] = number
        return reasons

    def reason_text(self, number: int) -> str:
        """The reason with this number; they are numbered from 1."""
        return self.records.unprunable[number - 1].reason

    def mark_unprunable(self, labels: Ints, reason: str) -> None:
        """These channels must stay for a reason that was found after the trace."""
        self.records.mark_unprunable(labels, reason)
        vars(self).pop("class_reasons", None)

    def keep_factors(self, factors: Bools, reason: str) -> None:
        """These scaling factors, and the channels that they write, must stay.

        The reason was found after the trace.

        Args:
            factors: bool[factors].
        """
        for norm, (start, stop) in zip(self.norms, pairwise(self.norm_starts), strict=True):
            own = factors[start:stop]
            if own.any():
                self.mark_unprunable(norm.output_labels[norm.output_index[own]], reason)
                self.factor_reasons[start:stop][own] = len(self.records.unprunable)

    @cached_property
    def norm_starts(self) -> Ints:
        """int64[norms + 1], the first factor of each BatchNorm, and the number of all factors."""
        return np.cumsum([0, *(norm.width for norm in self.norms)])

    @cached_property
    def norm_of_factor(self) -> Ints:
        """int64[factors], the BatchNorm of each factor."""
        return np.repeat(np.arange(len(self.norms)), np.diff(self.norm_starts))

    @cached_property
    def input_class(self) -> Ints:
        """int64[factors], the class that is read at the place of each factor."""
        labels = [norm.input_labels[norm.input_index] for norm in self.norms]
        return self._classes(labels)

    @cached_property
    def output_class(self) -> Ints:
        """int64[factors], the class that is written at the place of each factor."""
        labels = [norm.output_labels[norm.output_index] for norm in self.norms]
        return self._classes(labels)

    def _classes(self, labels: list[Ints]) -> Ints:
        classes: Ints = self.class_of_label[np.concatenate(labels)]
        return classes

    @cached_property
    def importance(self) -> npt.NDArray[np.float64]:
        """float64[factors], the absolute value of each factor.

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

    def classes_without_need(self, removed: Bools) -> Bools:
        """bool[classes]: those around which all BatchNorms lose their factors.

        Args:
            removed: bool[factors].
        """
        if self._last_need is None or not np.array_equal(self._last_need[0], removed):
            needed, touched = np.zeros((2, self.class_count), dtype=bool)
            kept = ~removed
            for class_of_factor in (self.input_class, self.output_class):
                needed[class_of_factor[kept]] = True
                touched[class_of_factor[removed]] = True
            self._last_need = removed.copy(), touched & ~needed  # the report and the plan ask for the same
        return self._last_need[1]

    def removed_labels(self, removed: Bools) -> Bools:
        """The channels that are removed with some factors.

        A layer whose outputs would all be removed keeps one of them, because a layer needs an output.

        Args:
            removed: bool[factors].

        Returns:
            bool[labels].
        """
        removed_classes = self.classes_without_need(removed) & (self.class_reasons == 0)
        outputs, starts = self._outputs_by_layer
        if starts.size:
            without_output = np.logical_and.reduceat(removed_classes[outputs], starts)
            removed_classes[outputs[starts[without_output]]] = False
        labels: Bools = removed_classes[self.class_of_label]
        return labels

    @cached_property
    def _outputs_by_layer(self) -> tuple[Ints, Ints]:
        """The classes of the outputs of all layers in one array, and where each layer starts in it."""
        outputs = [self.class_of_label[layer.outputs] for layer in self.records.weighted_layers.values()]
        starts = np.cumsum([0, *map(len, outputs)])[:-1]
        return np.concatenate([*outputs, self.class_of_label[:0]]), starts
