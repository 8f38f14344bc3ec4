"""Which classes a model confuses with which: the counts of its answers on the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ConfusionMatrix"]

MOST_CLASSES = 20  # a larger matrix cannot be read on a page, and its counts grow with the square
OTHER = "other"


@dataclass(frozen=True)
class ConfusionMatrix:
    """`counts[k][j]` is the number of images of class k that the model takes for class j."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, classes: Sequence[str], labels: Sequence[int], predicted: Sequence[int]) -> ConfusionMatrix:
        """The matrix of `labels` and `predicted` [N], both numbers of classes, counted from 0."""
        counts = [[0] * len(classes) for _ in classes]
        for label, answer in zip(labels, predicted, strict=True):
            counts[int(label)][int(answer)] += 1
        return cls(tuple(classes), tuple(map(tuple, counts)))

    def for_display(self, most: int = MOST_CLASSES) -> ConfusionMatrix:
        """This matrix, or with more than `most` classes that of the most confused ones.

        A class counts by the wrong answers in its row and its column. The remaining classes are added up as
        one class `other`.
        """
        if len(self.classes) <= most:
            return self
        everything = range(len(self.classes))
        wrong = [
            sum(self.counts[k]) + sum(row[k] for row in self.counts) - 2 * self.counts[k][k]
            for k in everything
        ]
        kept = sorted(sorted(everything, key=lambda k: (-wrong[k], k))[: most - 1])
        groups = [[k] for k in kept] + [[k for k in everything if k not in kept]]
        counts = tuple(
            tuple(sum(self.counts[k][j] for k in rows for j in columns) for columns in groups)
            for rows in groups
        )
        return ConfusionMatrix((*(self.classes[k] for k in kept), OTHER), counts)
