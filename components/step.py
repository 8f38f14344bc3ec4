"""The decorator `step`: a function becomes a KFP component where pipelines are compiled.

A compiled pipeline contains the name of a step's function, not its source
(netslim_kfp.pipelines.compiler.minify); the function is in the step's image. So its module is also imported
in the step's process. There the decorator returns the function itself, because KFP does not load its
compiler in a step.

An optional input artifact is annotated `dsl.Input[dsl.Model] = None`, without Optional: a KFP backend sends
input artifacts without a schema title, so KFP's executor makes each one by calling the annotation, and a
Union cannot be called. The compiled pipeline is the same with and without Optional.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from netslim.child_process import end_with_parent
from netslim_kfp.components.images import ImageName, image

__all__ = ["step"]


def step(image_name: ImageName) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function that runs in the image `image_name`."""
    if os.environ.get("_KFP_RUNTIME") == "true":
        end_with_parent()  # the step itself begins seconds later, when it has imported what it needs
        return lambda function: function
    from kfp import dsl

    decorate: Callable[[Callable[..., Any]], Any] = dsl.component(
        base_image=image(image_name), install_kfp_package=False
    )
    return decorate
