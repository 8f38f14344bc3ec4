"""Pipelines as compiled YAML: the one form that every runner and backend takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from netslim.files import atomic_file
from pipelines.lean import make_lean
from pipelines.lint import lint

__all__ = ["compile_pipeline"]


def compile_pipeline(pipeline: Callable[..., Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Compile to `path`, lean, and hold the result against the portability rules.

    Returns:
        The pipeline's intermediate representation, its first YAML document.
    """
    with atomic_file(Path(path)) as draft:
        target = draft.with_suffix(".yaml")  # the compiler chooses its format by the suffix
        compiler.Compiler().compile(pipeline, str(target))
        text = target.read_text(encoding="utf-8")
        ir, *platform = yaml.safe_load_all(text)
        make_lean(ir)
        remarks = [
            line for line in text.splitlines(keepends=True) if line.startswith("#")
        ]  # the inputs, in words
        target.write_text("".join(remarks) + yaml.safe_dump_all([ir, *platform]), encoding="utf-8")
        breaches = lint(ir)
        assert not breaches, breaches  # our own pipelines: a breach is our bug
        target.replace(draft)
    compiled: dict[str, Any] = ir
    return compiled
