"""Pipeline functions whose inputs are a table of names and defaults, instead of one long signature each.

All pipelines take most of the options of a run. The table comes from RunConfig, so an option, its name and
its default are written once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from kfp import dsl
from kfp.dsl import pipeline_task

__all__ = ["Inputs", "pipeline"]

Inputs = SimpleNamespace
"""A pipeline's inputs by name, as KFP's placeholders for values that are known when the pipeline runs."""


def pipeline(
    body: Callable[[Inputs], None], *, name: str, description: str, inputs: Mapping[str, Any]
) -> Callable[..., Any]:
    """The KFP pipeline that `body` wires.

    Args:
        body: gets the inputs and makes the tasks.
        name: the pipeline's name.
        description: one sentence for KFP's user interface.
        inputs: the default of each input by name; the type alone (`list`) for an input without a default. The
            type of a default is the type of the input, so it must be one that KFP has.
    """

    def function(*values: Any) -> None:
        body(Inputs(**dict(zip(inputs, values, strict=True))))

    # KFP reads a pipeline's inputs from the signature, and calls the function with them in this order.
    function.__signature__ = inspect.Signature([_parameter(*item) for item in inputs.items()])  # type: ignore[attr-defined]
    with _quick_names_of_callers():
        made: Callable[..., Any] = dsl.pipeline(name=name, description=description)(function)
    return made


@contextmanager
def _quick_names_of_callers() -> Iterator[None]:
    """Let KFP find the name of a calling method in one look, while it makes the tasks.

    It takes the name from `inspect.stack()` in each method that sets a resource. That reads the source of
    every caller of the program, and compares its file with those of all loaded modules: with torch and MLflow
    2 seconds for one pass.
    """

    def stack() -> tuple[tuple[None, None, None, str], ...]:
        own = inspect.currentframe()
        assert own is not None
        assert own.f_back is not None
        here = own.f_back
        assert here.f_back is not None
        return (None, None, None, here.f_code.co_name), (None, None, None, here.f_back.f_code.co_name)

    pipeline_task.inspect = SimpleNamespace(**{**vars(inspect), "stack": stack})
    try:
        yield
    finally:
        pipeline_task.inspect = inspect


def _parameter(name: str, default: Any) -> inspect.Parameter:
    required = isinstance(default, type)
    return inspect.Parameter(
        name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        annotation=default if required else type(default),
        default=inspect.Parameter.empty if required else default,
    )
