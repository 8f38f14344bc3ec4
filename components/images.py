"""The names and tags of the container images.

A tag must never be moved to another image. KFP's cache key contains the image's name and not its digest
(kubeflow/pipelines#13862), so with a moved tag a new image would reuse the results of the old one.
"""

from __future__ import annotations

import os
from typing import Literal

from netslim import __version__
from netslim.errors import ConfigError

__all__ = ["ImageName", "image", "image_tag"]

ImageName = Literal["data", "train", "export", "consume", "tracking"]


def image(name: ImageName, *, registry: str = "", tag: str = "") -> str:
    """The full name of an image: `[registry/]netslim-<name>:<tag>`.

    `registry` and `tag` default to the environment's NETSLIM_REGISTRY and NETSLIM_IMAGE_TAG, then to local
    images of this version.

    Raises:
        ConfigError: the tag is `latest`.
    """
    registry = registry or os.environ.get("NETSLIM_REGISTRY", "")
    tag = tag or image_tag()
    if tag == "latest":
        remedy = "Use the version or another tag that is never moved"
        raise ConfigError(
            "the step cache cannot distinguish one `latest` from the next",
            field="image tag",
            value=tag,
            remedy=remedy,
        )
    tagged = f"netslim-{name}:{tag}"
    return f"{registry.rstrip('/')}/{tagged}" if registry else tagged


def image_tag() -> str:
    """The tag of the images: the environment's NETSLIM_IMAGE_TAG, else this version."""
    return os.environ.get("NETSLIM_IMAGE_TAG", __version__)
