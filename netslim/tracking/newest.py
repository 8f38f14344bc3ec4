"""Which run is read when no key is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from netslim.errors import TrackingError
from netslim.tracking.names import KEY_TAG, RUN_TAG, pass_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["newest_run_key"]


def newest_run_key(client: MlflowClient, experiment: str = "") -> str:
    """The key of the run that started last among those with a recorded pass; if none has one, among all.

    Args:
        experiment: the only experiment that is searched; empty for every experiment.

    Raises:
        TrackingError: netslim has recorded no run there.
    """
    newest, with_a_pass = "", set[str]()
    for page in _pages(client, experiment):
        with_a_pass |= {run.data.tags[RUN_TAG] for run in page if pass_file(run.data.tags)}
        for run in page:  # from the newest on: a parent comes after its children
            key = str(run.data.tags[RUN_TAG])
            if run.data.tags.get(KEY_TAG) != key:
                continue  # a child
            if key in with_a_pass:
                return key
            newest = newest or key
    if newest:
        return newest
    remedy = "Run `netslim run` first, or name another --dataset or --tracking-uri"
    searched = experiment or "any experiment"
    raise TrackingError("no run has been recorded", field="experiment", value=searched, remedy=remedy)


def _pages(client: MlflowClient, experiment: str) -> Iterator[list[Run]]:
    """The runs of netslim, parents and children, from the one that started last on."""
    if experiment:
        experiments = [client.get_experiment_by_name(experiment)]
    else:
        experiments = list(client.search_experiments())
    ids = [each.experiment_id for each in experiments if each]
    token: str | None = None
    while ids:
        page = client.search_runs(
            ids,
            f"tags.`{RUN_TAG}` LIKE '%'",
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield list(page)
        token = page.token
        if not token:
            return
