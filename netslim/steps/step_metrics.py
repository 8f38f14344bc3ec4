"""The measurements of each step, one dataclass per kind of step; their JSON is that of version 0.1.0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from netslim.pruning.layer_report import Report
from netslim.results.measures import Histogram, Size

__all__ = ["ExportMetrics", "PruneMetrics", "TrainMetrics"]


@dataclass(frozen=True, kw_only=True)
class TrainMetrics:
    """A training: its settings, the error, and the scaling factors at its end.

    Args:
        stage: `base`, `sparse` or `fine_tune`.
        architecture: the factory of the network, such as `vgg-digits`.
        dataset: the title of the dataset.
        recipe: every field of the Recipe, as JSON data.
        seed: of initial weights, order and augmentation.
        error: on the test split, in percent.
        lambda_: strength of the L1 term; 0 for normal training.
        zero_share: share (0 to 1) of scaling factors that are exactly 0.
        near_zero_share: share (0 to 1) of scaling factors near zero.
        gammas: histogram of |gamma|.
        resumed_at: the optimizer step from which a checkpoint was resumed; 0 for a start from the beginning.
        refused_checkpoints: checkpoints that were not used, each with the reason.
    """

    stage: str
    architecture: str
    dataset: str
    recipe: Mapping[str, Any]
    seed: int
    error: float
    lambda_: float
    zero_share: float
    near_zero_share: float
    gammas: Histogram
    resumed_at: int = 0
    refused_checkpoints: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The training in a line, for the end of the step's log."""
        parts = [f"{self.recipe['epochs']} epochs"] if "epochs" in self.recipe else []
        parts.append(f"test error {self.error:.2f} %")
        if self.lambda_:
            parts.append(
                f"lambda {self.lambda_:.3g}, {self.near_zero_share:.1%} of the scaling factors near zero"
            )
        if self.resumed_at:
            parts.append(f"continued from a checkpoint at step {self.resumed_at:,}")
        if self.refused_checkpoints:
            parts.append(f"checkpoints not used: {'; '.join(self.refused_checkpoints)}")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "architecture": self.architecture,
            "dataset": self.dataset,
            "recipe": dict(self.recipe),
            "seed": self.seed,
            "error": self.error,
            "lam": self.lambda_,
            "zero_share": self.zero_share,
            "near_zero_share": self.near_zero_share,
            "gammas": {"edges": list(self.gammas.edges), "counts": list(self.gammas.counts)},
            "resumed_at": self.resumed_at,
            "refused_checkpoints": list(self.refused_checkpoints),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainMetrics:
        values = dict(data)
        return cls(
            lambda_=values.pop("lam"),
            gammas=Histogram(**values.pop("gammas")),
            refused_checkpoints=tuple(values.pop("refused_checkpoints", ())),
            **values,
        )


@dataclass(frozen=True, kw_only=True)
class PruneMetrics:
    """A pruning: its options, the sizes before and after, and the error before fine-tuning.

    Args:
        settings: the options by name, as inputs of the pipeline.
        recalibrated: whether the BatchNorm statistics were estimated again.
        error: on the test split, in percent.
        threshold: the largest |gamma| among the channels that were removed by rank.
        before: the size of the network that was pruned.
        after: the size of the slim network.
        plan_digest: digest of the pruning plan.
        report: the table of layers.
    """

    settings: Mapping[str, Any]
    recalibrated: bool
    error: float
    threshold: float
    before: Size
    after: Size
    plan_digest: str
    report: Report

    @property
    def summary(self) -> str:
        """The pruning in a line, for the end of the step's log."""
        removed = 1 - self.after.channels / max(1, self.before.channels)
        return (
            f"{self.before.channels:,} to {self.after.channels:,} channels ({removed:.1%} removed), "
            f"{self.before.flops:,} to {self.after.flops:,} FLOPs, "
            f"test error {self.error:.2f} % before fine-tuning"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "settings": dict(self.settings),
            "recalibrated": self.recalibrated,
            "error_pruned": self.error,
            "threshold": self.threshold,
            "channels_before": self.before.channels,
            "params_before": self.before.params,
            "macs_before": self.before.macs,
            **_size_to_json(self.after),
            "plan_digest": self.plan_digest,
            "report": self.report.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PruneMetrics:
        return cls(
            settings=data["settings"],
            recalibrated=data["recalibrated"],
            error=data["error_pruned"],
            threshold=data["threshold"],
            before=Size(
                channels=data["channels_before"], params=data["params_before"], macs=data["macs_before"]
            ),
            after=_size_from_json(data),
            plan_digest=data["plan_digest"],
            report=Report.from_json(data["report"]),
        )


@dataclass(frozen=True, kw_only=True)
class ExportMetrics:
    """An export: the size of the network and the files that were written.

    Args:
        size: of the exported network.
        layer_macs: MACs of each layer that has any, in the order of the network.
        onnx_bytes: size of model.onnx.
        onnx_sha256: digest of model.onnx.
        onnx_weights: number of weights of convolutions and linear layers in model.onnx.
        opset: ONNX operator set of model.onnx.
        difference: largest difference of a logit from PyTorch's, as a share of the largest logit.
        int8: the result of the quantization, as JSON data.
    """

    size: Size
    layer_macs: Mapping[str, int] = field(default_factory=dict)
    onnx_bytes: int
    onnx_sha256: str
    onnx_weights: int
    opset: int
    difference: float
    int8: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """The export in a line, for the end of the step's log."""
        return (
            f"{self.onnx_bytes:,} bytes, {self.size.channels:,} channels, {self.size.flops:,} FLOPs, "
            f"logits within {self.difference:.1e} of PyTorch's"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            **_size_to_json(self.size),
            "flops": self.size.flops,
            "layer_macs": dict(self.layer_macs),
            "bytes": self.onnx_bytes,
            "sha256": self.onnx_sha256,
            "weights": self.onnx_weights,
            "opset": self.opset,
            "difference": self.difference,
            "int8": dict(self.int8),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExportMetrics:
        return cls(
            size=_size_from_json(data),
            layer_macs=data.get("layer_macs", {}),
            onnx_bytes=data["bytes"],
            onnx_sha256=data["sha256"],
            onnx_weights=data["weights"],
            opset=data["opset"],
            difference=data["difference"],
            int8=data["int8"],
        )


def _size_to_json(size: Size) -> dict[str, int]:
    return {"channels": size.channels, "params": size.params, "macs": size.macs}


def _size_from_json(data: Mapping[str, Any]) -> Size:
    return Size(channels=data["channels"], params=data["params"], macs=data["macs"])
