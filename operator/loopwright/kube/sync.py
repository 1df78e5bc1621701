"""Brings the cache to what the API server has right now, before anybody acts on it.

Watches alone cannot tell when they have shown everything, and those of a stand-by may lag. Whoever
starts to lead therefore lists once more, consistently, and only then reconciles.
"""

from __future__ import annotations

from collections.abc import Iterable

from loopwright.api.names import LABEL_KIND
from loopwright.kube.cache import OWN_KINDS, Cache, Listing, version_of
from loopwright.kube.client import Client
from loopwright.kube.errors import KindMissing
from loopwright.kube.resources import Resource


async def sync(
    client: Client, cache: Cache, resources: Iterable[Resource], namespaces: tuple[str, ...]
) -> None:
    """Lists all resources into the cache, and drops from it what is gone.

    Raises:
        ApiError: a listing failed.
    """
    for resource in resources:
        for namespace in namespaces or (None,):
            try:
                listing = await _list(client, cache, resource, namespace)
            except KindMissing:
                continue  # Watched as soon as its CRD is installed.
            cache.forget_unlisted(resource.kind, namespace, listing)


async def _list(client: Client, cache: Cache, resource: Resource, namespace: str | None) -> Listing:
    selector = "" if resource.kind in OWN_KINDS else LABEL_KIND
    listing = Listing()
    async for page in client.pages(resource, namespace, selector):
        listing.version = version_of(page)
        for item in page["items"]:
            item |= {"apiVersion": resource.api_version, "kind": resource.kind}
            listing.uids.add(item["metadata"]["uid"])
            cache.observe(None, item)
    return listing
