"""The part of `netslim doctor --host` that knows Kubeflow Pipelines and Kubernetes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import kfp_server_api as kfp

from netslim.errors import NetslimError
from netslim_kfp.pipelines.cli.check_images import check_images
from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
from netslim_kfp.pipelines.cluster.profiles import Profile, load

__all__ = ["check_backend"]

Result = tuple[bool | None, str, str]
"""Whether the check passed, its name, a sentence; None for what could not be checked or is not needed."""

ENVIRONMENT = {"token": "TOKEN", "token_file": "SA_TOKEN_PATH", "ca": "CA"}
ACCOUNT, SETTINGS = "netslim", "netslim"  # the names in the manifests
KFP_ACCOUNT = {False: "pipeline-runner", True: "default-editor"}  # by whether KFP serves several users
STORE = "AWS_ENDPOINT_URL_S3"


def check_backend(
    host: str,
    namespace: str = "",
    *,
    profiles: str | None = None,
    gpus: int | None = None,
    service_account: str = "",
    start_images: bool = False,
    start_timeout: int = 180,
) -> Iterator[Result]:
    """Check what `netslim submit` and the steps need: KFP's API, the objects in the namespace, the images.

    The token comes from the environment, as for `netslim submit`. The objects are looked for with kubectl and
    its current context; without kubectl they are not checked.

    Args:
        profiles: a file of resource profiles; None for the defaults.
        gpus: of a training; None for the number in the profiles.
        service_account: of the steps' pods; empty for KFP's own.
        start_images: whether to start a pod of each image; see `check_images`.
        start_timeout: seconds to wait for these pods.

    Raises:
        ConfigError: the file of profiles is wrong.
    """
    chosen = load(profiles, gpus=gpus)
    given = {name: os.environ.get(f"KF_PIPELINES_{key}", "") for name, key in ENVIRONMENT.items()}
    namespace = namespace or os.environ.get("KF_PIPELINES_NAMESPACE", "")
    try:
        client = KfpClient(host=host, namespace=namespace, pauses=(), **given)
        yield True, "KFP", f"version {client.check()} at {host}"
        health = json.loads(client.fetch("ask the server for its kind", "/apis/v2beta1/healthz"))
    except NetslimError as error:
        yield False, "KFP", str(error)
        return
    # A KFP for a single user refuses requests that name a namespace.
    yield from _api(client if health.get("multi_user") else replace(client, namespace=""))
    namespace = namespace or "kubeflow"
    yield from _objects(namespace, chosen["train"], service_account or ACCOUNT)
    if start_images:
        account = service_account or KFP_ACCOUNT[bool(health.get("multi_user"))]
        yield from check_images(namespace, chosen, account, start_timeout)
    else:
        yield None, "images", "not started: --start-images starts a pod of each for a moment"


def _api(client: KfpClient) -> Iterator[Result]:
    experiments = kfp.ExperimentServiceApi(client.client())
    try:
        client.call(
            "list experiments",
            experiments.experiment_service_list_experiments,
            namespace=client.namespace,
            page_size=1,
        )
        yield True, "KFP's login", "runs can be listed"
    except NetslimError as error:
        yield False, "KFP's login", str(error)
        return
    query = {"page_size": "1"}
    if client.namespace:
        query |= {"resource_reference_key.type": "NAMESPACE", "resource_reference_key.id": client.namespace}
    try:
        client.fetch("list runs by the API v1beta1", "/apis/v1beta1/runs", **query)
        yield True, "KFP's reasons", "--wait can print why a step waits or failed"
    except NetslimError as error:
        yield None, "KFP's reasons", f"--wait prints states only: {error}"


def _objects(namespace: str, profile: Profile, account: str) -> Iterator[Result]:
    if not shutil.which("kubectl"):
        yield None, "namespace", "not checked: kubectl is not installed"
        return
    wanted = {
        f"serviceaccount/{account}": "kubectl apply -k the overlay, or leave out --service-account",
        f"configmap/{SETTINGS}": "kubectl apply -k the overlay",
        f"secret/{profile.secret}": "kubectl apply -k manifests/secrets",
        "deployment/netslim-tracking": "kubectl apply -k the overlay",
    }
    if profile.dataset_claim:
        claim = f"persistentvolumeclaim/{profile.dataset_claim}"
        wanted[claim] = 'apply the overlay, or set dataset_claim: ""'
    for name, remedy in wanted.items():
        answer = _kubectl("get", name, "--namespace", namespace, "--output", "name")
        if answer.returncode == 0:
            yield True, name.partition("/")[0], f"{name} is in {namespace}"
        elif "NotFound" in answer.stderr:
            yield False, name.partition("/")[0], f"{name} is not in {namespace}: {remedy}"
        else:
            lines = answer.stderr.strip().splitlines() or ["no answer"]
            yield None, "namespace", f"not checked: kubectl: {lines[-1]}"
            return
    yield from _store(namespace)


def _store(namespace: str) -> Iterator[Result]:
    """Whether the object store in the settings is a Service that exists, when it is inside of the cluster."""
    answer = _kubectl("get", f"configmap/{SETTINGS}", "--namespace", namespace, "--output", "json")
    address = (
        json.loads(answer.stdout or "{}").get("data", {}).get(STORE, "") if not answer.returncode else ""
    )
    service, _, rest = str(urlsplit(address).hostname or "").partition(".")
    where = rest.removesuffix(".svc.cluster.local").removesuffix(".svc")
    if not service or "." in where:
        outside = f"{STORE} = {address}: outside of the cluster, not checked from here"
        yield None, "object store", outside if address else f"{STORE} is not set"
        return
    found = _kubectl("get", f"service/{service}", "--namespace", where or namespace, "--output", "name")
    if found.returncode == 0:
        yield True, "object store", f"{STORE} = {address} is a Service"
    elif "NotFound" in found.stderr:
        problem = (
            f"there is no Service {service} in {where or namespace}, so the tracking server has no store"
        )
        yield False, "object store", f"{problem}: change {STORE} in the overlay's settings.env (is {address})"
    else:
        yield None, "object store", f"{STORE} = {address}: not checked, the namespace may not be read"


def _kubectl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["kubectl", "--request-timeout=10s", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
