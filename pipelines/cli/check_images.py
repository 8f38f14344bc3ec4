"""The part of `netslim doctor --host` that starts a pod of each image."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from netslim.errors import PipelineError
from netslim_kfp.pipelines.cluster.image_pods import LABEL, ImagePod, image_pods
from netslim_kfp.pipelines.cluster.platform import placed_on
from netslim_kfp.pipelines.cluster.pod_starter import PodStarter
from netslim_kfp.pipelines.cluster.profiles import Profile
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.slimming.pipeline import build

__all__ = ["check_images"]

Result = tuple[bool | None, str, str]


def check_images(
    namespace: str, profiles: Mapping[str, Profile], service_account: str, timeout: int
) -> Iterator[Result]:
    """Start a pod of each image that a run of `netslim submit` uses, all at once, and delete the pods.

    Args:
        service_account: of the pods.
        timeout: seconds to wait for the ends of all pods.

    Yields:
        First a line that says what is started, then one result for each image. Where a permission is missing,
        one result that says so, and whose check has neither passed nor failed.
    """
    left: list[str] = []
    try:
        starter = PodStarter(namespace, timeout=timeout)
        pods = _pods_of_a_run(profiles)
        where = f"namespace {namespace} at {starter.server}"
        yield None, "images", f"starting {len(pods)} pods in {where}, for at most {timeout} s"
        found = starter.start(pods, service_account, left)
    except PipelineError as error:
        yield None, "images", f"not checked: {error}"
    else:
        for pod, outcome in zip(pods, found, strict=True):
            yield outcome.passed, f"image {pod.name}", f"{pod.image} {outcome.text}"
    if left:
        command = f"kubectl delete pods --namespace {namespace} --selector {LABEL}"
        yield False, "images", f"not deleted: {', '.join(left)}: {command}"


def _pods_of_a_run(profiles: Mapping[str, Profile]) -> list[ImagePod]:
    """From a compiled run, so that they are as the pods of its steps; a sweep has the same steps."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        compiled = compile_pipeline(build(1, place=placed_on(profiles)), file)
        _, platform = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    return image_pods(compiled, platform)
