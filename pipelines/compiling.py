"""Pipelines as compiled YAML: the one form that every runner and backend takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from netslim.files import atomic_file
from pipelines.lint import lint

__all__ = ["compile_pipeline"]


def compile_pipeline(pipeline: Callable[..., Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Compile to `path`, and hold the result against the portability rules.

    Returns:
        The pipeline's intermediate representation, its first YAML document.
    """
    with atomic_file(Path(path)) as draft:
        target = draft.with_suffix(".yaml")  # the compiler chooses its format by the suffix
        compiler.Compiler().compile(pipeline, str(target))
        ir: dict[str, Any] = next(yaml.safe_load_all(target.read_text(encoding="utf-8")))
        breaches = lint(ir)
        assert not breaches, breaches  # our own pipelines: a breach is our bug
        target.replace(draft)
    return ir
