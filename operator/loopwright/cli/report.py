"""`report`: the HTML page about a job or an endpoint."""

from __future__ import annotations

from loopwright.cli.stored import fetch, secret_of
from loopwright.view.cluster import Cluster
from loopwright.view.errors import Trouble
from loopwright.view.refs import Found
from loopwright.view.report import of_monitor, uris


def page(cluster: Cluster, found: Found, *, experiment: bool = False) -> bytes:
    """The report as HTML.

    Args:
        experiment: Of an endpoint: the page of its experiment.

    Raises:
        Trouble: there is none, or it cannot be read from here.
    """
    if found.kind.name == "ModelEndpoint":
        return of_monitor(cluster, found, "experiment" if experiment else "report")
    if experiment:
        raise Trouble("--experiment is for endpoints", "leave it out")
    stored = next(uris(found), None)
    if stored is None:
        text = "sweeps have one, batches with monitors, endpoints with monitors, and checked data"
        raise Trouble(f"{found.ref} has no report", text)
    return fetch(cluster, stored, secret_of(found.obj))
