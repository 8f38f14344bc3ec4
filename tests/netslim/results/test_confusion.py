"""The confusion matrix, and its smaller form for many classes."""

from __future__ import annotations

import random

from netslim.results.confusion import ConfusionMatrix


def test_rows_are_labels_and_columns_are_answers() -> None:
    matrix = ConfusionMatrix.of(("a", "b"), [0, 0, 0, 1], [0, 1, 1, 1])
    assert matrix.counts == ((1, 2), (0, 1))
    assert matrix.for_display() is matrix


def test_of_many_classes_those_that_are_confused_most_stay() -> None:
    classes = tuple(f"class {k}" for k in range(30))
    generator = random.Random(0)
    labels = [k for k in range(30) for _ in range(10)]
    answers = [generator.choice((7, 23)) if k in (7, 23) else k for k in labels]
    shown = ConfusionMatrix.of(classes, labels, answers).for_display(4)
    assert shown.classes[-1] == "other"
    assert {"class 7", "class 23"} < set(shown.classes)
    assert len(shown.counts) == len(shown.classes) == 4
    assert sum(map(sum, shown.counts)) == len(labels)
    seven, other = shown.classes.index("class 7"), 3
    assert shown.counts[seven][seven] == sum(1 for k, a in zip(labels, answers, strict=True) if k == a == 7)
    assert shown.counts[other][other] == 10 * (30 - 3)
