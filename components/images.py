"""The container images of the steps: one name and tag per kind of step, from this one place.

A tag names one content for ever, because KFP's cache key holds the image's name and not its digest
(kubeflow/pipelines#13862): with a mutable tag a new image would silently reuse old results.
"""

from __future__ import annotations

import os
from typing import Literal

from netslim import __version__
from netslim.errors import ConfigError

__all__ = ["Kind", "image"]

Kind = Literal["data", "train", "export", "consume", "tracking"]


def image(kind: Kind, *, registry: str = "", tag: str = "") -> str:
    """The image for one kind of step: `[registry/]netslim-<kind>:<tag>`.

    `registry` and `tag` default to the environment's NETSLIM_REGISTRY and NETSLIM_IMAGE_TAG, then to local
    images of this version.

    Raises:
        ConfigError: the tag is `latest`.
    """
    registry = registry or os.environ.get("NETSLIM_REGISTRY", "")
    tag = tag or os.environ.get("NETSLIM_IMAGE_TAG", __version__)
    if tag == "latest":
        remedy = "Use the version or another tag that is never moved"
        raise ConfigError(
            "the step cache cannot tell one `latest` from the next",
            field="image tag",
            value=tag,
            remedy=remedy,
        )
    name = f"netslim-{kind}:{tag}"
    return f"{registry.rstrip('/')}/{name}" if registry else name
