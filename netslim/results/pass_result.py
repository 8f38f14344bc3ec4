"""The result of one pass: measured values, per-layer tables, training curves, and the decision after it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from netslim.pruning.layer_report import LayerRow
from netslim.results.format_0_1 import is_0_1_pass, upgrade_pass
from netslim.results.measures import Errors, Histogram, Latency, Size, check_range, wrong_value

__all__ = ["PassResult"]


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """One pass, measured on its exported ONNX model. Pass 0 is the baseline: trained, never pruned.

    Args:
        index: number of the pass, from 0.
        size: of the exported network.
        errors: on the test split and, where there is one, on the validation split.
        onnx_bytes: size of the exported file.
        measured_at: time in milliseconds since 1970; the timestamp of the pass's points in MLflow.
        label: name of a point of a sweep, such as `lambda 0.0001`; empty for a pass.
        size_before: of the network that this pass pruned; None for the baseline.
        threshold: the largest |gamma| among the channels that were removed by rank.
        near_zero_share: share (0 to 1) of scaling factors near zero after sparse training.
        latency: by batch size.
        wide_latency: of the wide network, by batch size, measured in turns with `latency`; empty for the
            wide network itself, and in files of 0.1.0.
        onnx_sha256: digest of the exported file.
        layer_macs: MACs of each layer that has any, in the order of the network.
        layers: for each prunable layer the channels before, by rank and after pruning, and the reason.
        gammas: histogram of |gamma| over all scaling factors after sparse training.
        curves: training curves by stage ("base", "sparse", "fine_tune"): one point per epoch, each with
            "step" (the epoch), "ts" (milliseconds since 1970) and numbers under any other name.
        reason: the reason for the decision after this pass, as a sentence.
        continue_: whether another pass followed; None before the decision, and in files of 0.1.0.

    Raises:
        DataError: a value is outside its range.
    """

    index: int
    size: Size
    errors: Errors
    onnx_bytes: int
    measured_at: int
    label: str = ""
    size_before: Size | None = None
    threshold: float | None = None
    near_zero_share: float | None = None
    latency: Mapping[int, Latency] = field(default_factory=dict)
    wide_latency: Mapping[int, Latency] = field(default_factory=dict)
    onnx_sha256: str = ""
    layer_macs: Mapping[str, int] = field(default_factory=dict)
    layers: tuple[LayerRow, ...] = ()
    gammas: Histogram | None = None
    curves: Mapping[str, tuple[Mapping[str, float], ...]] = field(default_factory=dict)
    reason: str = ""
    continue_: bool | None = None

    def __post_init__(self) -> None:
        check_range("near_zero_share", self.near_zero_share, 0, 1)
        for name in ("index", "onnx_bytes", "measured_at", "threshold"):
            check_range(name, getattr(self, name), 0, math.inf)
        for layer, macs in self.layer_macs.items():
            check_range(f"layer_macs[{layer!r}]", macs, 0, math.inf)
        for stage, points in self.curves.items():
            if not all("step" in point and "ts" in point for point in points):
                raise wrong_value(f"curves[{stage!r}]", "a point lacks its step or ts")
        if self.continue_ is not None and not isinstance(self.continue_, bool):
            raise wrong_value("continue_", f"{self.continue_!r} is not true or false")

    @property
    def title(self) -> str:
        return self.label or ("baseline" if self.index == 0 else f"pass {self.index}")

    @property
    def pruned_share(self) -> float | None:
        """Share (0 to 1) of the channels that this pass removed."""
        return 1 - self.size.channels / self.size_before.channels if self.size_before else None

    @property
    def speedup(self) -> dict[int, float]:
        """Latency of the wide network divided by this one's, by batch size.

        The two ran in turns, so another load on the machine affects the ratio less than the milliseconds.
        """
        shared = sorted(self.wide_latency.keys() & self.latency.keys())
        own = {batch: self.latency[batch].median_ms for batch in shared}
        return {batch: self.wide_latency[batch].median_ms / own[batch] for batch in shared if own[batch]}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PassResult:
        """Read the JSON of `to_json`, or of a pass that version 0.1.0 wrote.

        Raises:
            DataError: a name is unknown, or a value is missing, of a wrong type or outside its range.
        """
        try:
            values = upgrade_pass(data) if is_0_1_pass(data) else dict(data)
            if unknown := sorted(values.keys() - {one.name for one in fields(cls)}):
                raise wrong_value(", ".join(unknown), "unknown to this version of netslim")
            before, gammas = values.get("size_before"), values.get("gammas")
            values |= {
                "size": Size(**values["size"]),
                "errors": Errors(**values["errors"]),
                "size_before": Size(**before) if before else None,
                **{name: _latencies(values.get(name, {})) for name in ("latency", "wide_latency")},
                "layers": tuple(LayerRow.from_json(layer) for layer in values.get("layers", ())),
                "gammas": Histogram(**gammas) if gammas else None,
                "curves": {stage: tuple(points) for stage, points in values.get("curves", {}).items()},
            }
            return cls(**values)
        except KeyError as error:
            raise wrong_value(f"pass {data.get('index', '?')}", f"{error} is missing") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise wrong_value(f"pass {data.get('index', '?')}", str(error)) from error


def _latencies(data: Mapping[str, Any]) -> dict[int, Latency]:
    return {int(batch): Latency(**one) for batch, one in data.items()}
