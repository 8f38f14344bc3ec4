"""Pipelines as compiled YAML, the form that every runner and backend reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from netslim.storage.atomic import atomic_file
from netslim_kfp.pipelines.compiler.lint import lint
from netslim_kfp.pipelines.compiler.minify import minify

__all__ = ["InputNote", "compile_pipeline"]

# PyYAML in C writes the same text in a quarter of the time. PyYAML may have been built without it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class InputNote:
    """What KFP's page shows of an input: a sentence, and the values of a drop-down list, if it has one."""

    description: str
    choices: tuple[str, ...] = ()


def compile_pipeline(
    pipeline: Callable[..., Any],
    path: str | os.PathLike[str],
    *,
    cache: bool = True,
    notes: Mapping[str, InputNote] | None = None,
) -> dict[str, Any]:
    """Compile `pipeline` to the file `path`, minified and checked by the portability rules.

    Args:
        pipeline: a pipeline function.
        path: the file to write.
        cache: whether steps may take the results of earlier runs.
        notes: what KFP's page shows of the pipeline's inputs, by their names.

    Returns:
        The pipeline's intermediate representation, its first YAML document.
    """
    with atomic_file(Path(path)) as draft:
        target = draft.with_suffix(".yaml")  # the compiler chooses its format by the suffix
        compiler.Compiler().compile(pipeline, str(target))
        text = target.read_text(encoding="utf-8")
        target.unlink()
        compiled: dict[str, Any]
        compiled, *platform = yaml.load_all(text, Loader=_LOADER)  # both loaders are safe
        minify(compiled)
        _describe(compiled, notes or {})
        breaches = lint(compiled)
        assert not breaches, breaches  # our own pipelines: a breach is our bug
        if not cache:
            _disable_cache(compiled)
        header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
        draft.write_text(header + yaml.dump_all([compiled, *platform], Dumper=_DUMPER), encoding="utf-8")
    return compiled


def _describe(ir: dict[str, Any], notes: Mapping[str, InputNote]) -> None:
    """Write descriptions and choices of the pipeline's inputs, in place.

    KFP 2.17's backend and page support `literals`, for which its SDK has no notation yet.
    """
    for name, definition in ir["root"]["inputDefinitions"]["parameters"].items():
        if note := notes.get(name):
            definition["description"] = note.description
            if note.choices:
                definition["literals"] = list(note.choices)


def _disable_cache(ir: dict[str, Any]) -> None:
    """Make every step run, in place, also when its result is in the cache."""
    for group in (ir["root"], *ir["components"].values()):
        for task in group.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}
