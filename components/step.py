"""What makes a function a step: a KFP component where pipelines are compiled, itself where the step runs.

A compiled pipeline names a step's function and does not carry its source
(netslim_kfp.pipelines.compiler.minify): the function is in the step's image, beside the rest of the code
that it needs. So the module that holds it is imported in the step's process too, where KFP keeps its
compiler away to start fast.

An optional input artifact is annotated `dsl.Input[dsl.Model] = None`, without Optional: a KFP backend sends
input artifacts without a schema title, so KFP's executor makes each one by calling the annotation, and a
Union cannot be called. The compiled pipeline is the same with and without Optional.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from netslim_kfp.components.images import Kind, image

__all__ = ["step"]


def step(kind: Kind) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function that runs in the image of `kind`."""
    if os.environ.get("_KFP_RUNTIME") == "true":
        return lambda function: function
    from kfp import dsl

    decorate: Callable[[Callable[..., Any]], Any] = dsl.component(
        base_image=image(kind), install_kfp_package=False
    )
    return decorate
