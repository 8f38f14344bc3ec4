"""What can only be decided when the whole network has run: counts, weights and biases with several uses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from netslim.dependency.attribute_sizes import settle_attributes
from netslim.dependency.equivalence import equivalence_classes
from netslim.dependency.layer_records import WeightedLayer
from netslim.dependency.records import TraceRecords

__all__ = ["settle"]


def settle(records: TraceRecords) -> None:
    """Complete the records of a trace."""
    _keep_weights_that_are_vectors_elsewhere(records)
    _leave_biases_with_other_uses(records)
    settle_attributes(records)
    _tie_equal_counts(records)


def _keep_weights_that_are_vectors_elsewhere(records: TraceRecords) -> None:
    """A weight such as 12 x 1 may be the weight of a layer, and a vector of 12 channels elsewhere."""
    for path in records.read_vectors & records.weighted_layers.keys():
        records.keep_whole(path, f"{path} is used as a tensor as well")


def _leave_biases_with_other_uses(records: TraceRecords) -> None:
    """A bias cannot be changed for the inputs that its layer loses if something else reads it, too."""
    layers = records.weighted_layers
    users = Counter(layer.bias for layer in layers.values() if layer.bias)
    for path, layer in layers.items():
        bias = layer.bias
        if bias and (users[bias] > 1 or bias in records.read_vectors or bias in records.kept_whole):
            layers[path] = replace(layer, bias="", standard=False)
            _keep_inputs_with_constants(records, layer)


def _keep_inputs_with_constants(records: TraceRecords, layer: WeightedLayer) -> None:
    inputs = layer.inputs
    reason = f"{layer.name} reads them activated to something else than 0, and its bias has other uses"
    records.mark_unprunable(inputs.labels[inputs.value_without_bias != 0], reason)


def _tie_equal_counts(records: TraceRecords) -> None:
    """Tie the channels of `equal_counts` that no operation has tied."""
    if records.equal_counts:
        classes = equivalence_classes(records.label_count, records.tied)
        for a, b in records.equal_counts:
            if not np.array_equal(np.sort(classes[a]), np.sort(classes[b])):
                records.tie(a, b)
