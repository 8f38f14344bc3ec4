"""Pipelines as compiled YAML: the one form that every runner and backend takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from netslim.storage.atomic import atomic_file
from netslim_kfp.pipelines.compiler.lint import lint
from netslim_kfp.pipelines.compiler.minify import minify

__all__ = ["compile_pipeline"]


def compile_pipeline(
    pipeline: Callable[..., Any], path: str | os.PathLike[str], *, cache: bool = True
) -> dict[str, Any]:
    """Compile to `path`, lean, and hold the result against the portability rules.

    Without `cache` every step is run again, also when its result is known.

    Returns:
        The pipeline's intermediate representation, its first YAML document.
    """
    with atomic_file(Path(path)) as draft:
        target = draft.with_suffix(".yaml")  # the compiler chooses its format by the suffix
        compiler.Compiler().compile(pipeline, str(target))
        text = target.read_text(encoding="utf-8")
        target.unlink()
        compiled: dict[str, Any]
        compiled, *platform = yaml.safe_load_all(text)
        minify(compiled)
        breaches = lint(compiled)
        assert not breaches, breaches  # our own pipelines: a breach is our bug
        if not cache:
            _forget(compiled)
        inputs_in_words = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
        draft.write_text(inputs_in_words + yaml.safe_dump_all([compiled, *platform]), encoding="utf-8")
    return compiled


def _forget(ir: dict[str, Any]) -> None:
    """Have no step take the result of an earlier run."""
    for group in (ir["root"], *ir["components"].values()):
        for task in group.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}
