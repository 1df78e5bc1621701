"""Brings the cache to what the API server has right now, before anybody acts on it.

Watches alone cannot tell when they have shown everything, and those of a stand-by may lag. Whoever
starts to lead therefore lists once more, consistently, and only then reconciles.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from loopwright.api.names import LABEL_KIND
from loopwright.api.resources import SERVING, SUPPORT, Key, Resource
from loopwright.kube.cache import OWN_KINDS, Cache, Listing, version_of
from loopwright.kube.client import Client
from loopwright.kube.errors import Forbidden, KindMissing, OldListing

logger = logging.getLogger(__name__)


async def sync(
    client: Client,
    cache: Cache,
    resources: Iterable[Resource],
    namespaces: tuple[str, ...],
    *,
    believe: bool = True,
) -> set[Key]:
    """Lists all resources into the cache, and drops from it what is gone.

    Args:
        believe: Whether a listing that is older than what was seen before is the truth: etcd was
            restored from a backup. It may also come from a server that lags behind; whoever
            forgot newer things then would not hear of them again.

    Returns:
        What had changed and no watch had told.

    Raises:
        ApiError: a listing failed that decisions rest on; `OldListing` unless it is believed.
    """
    news: set[Key] = set()
    for resource in resources:
        for namespace in namespaces or (None,):
            try:
                listing = await _list(client, cache, resource, namespace, believe)
            except KindMissing:
                continue  # Watched as soon as its CRD is installed.
            except Forbidden as error:
                if resource not in (*SUPPORT, *SERVING):
                    raise
                # The objects that need such a child say so; the others go on.
                logger.warning("cannot list: %s", error.message)
                continue
            news.update(listing.news)
            news.update(cache.forget_unlisted(resource.kind, namespace, listing))
    return news


async def _list(
    client: Client, cache: Cache, resource: Resource, namespace: str | None, believe: bool
) -> Listing:
    selector = "" if resource.kind in OWN_KINDS else LABEL_KIND
    listing, before = Listing(), cache.newest[resource.kind]
    async for page in client.pages(resource, namespace, selector):
        listing.version = version_of(page)
        if listing.version < before:
            if not believe:
                raise OldListing(f"the API server shows {resource.plural} of the past")
            # Versions only grow, so this is another history.
            logger.warning("the API server went back in time; %s are listed anew", resource.plural)
            cache.clear(resource.kind)
            before = 0
        for item in page["items"]:
            item |= {"apiVersion": resource.api_version, "kind": resource.kind}
            if cache.rewind(item, listing.version):
                name = item["metadata"]["name"]
                logger.warning("the API server went back in time; %s is read anew", name)
            listing.uids.add(item["metadata"]["uid"])
            if (key := cache.observe(None, item)) is not None:
                listing.news.add(key)
    return listing
