"""What [KIND/]NAME means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from loopwright.api.base import ApiModel
from loopwright.api.kinds import KINDS, Kind
from loopwright.api.resources import own
from loopwright.view.cluster import Cluster, Object
from loopwright.view.errors import Misread, Trouble

M = TypeVar("M", bound=ApiModel)


@dataclass(frozen=True)
class Found:
    """An object of ours."""

    kind: Kind
    obj: Object

    @property
    def name(self) -> str:
        """Of the object."""
        return str(self.obj["metadata"]["name"])

    @property
    def ref(self) -> str:
        """KIND/NAME, by the short word for the kind."""
        return f"{self.kind.short}/{self.name}"

    def read(self, model: type[M]) -> M:
        """The object as its model; raises Misread when this tool is too old for it."""
        return parsed(model, self.obj, self.ref)


def parsed(model: type[M], data: Object, ref: str) -> M:
    """Data as a model; raises Misread when this tool is too old for it."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        text = f"{ref} cannot be understood at {place}"
        raise Misread(text, "use the loopwright of the operator's version") from error


def kind_of(word: str) -> Kind:
    """The kind that a word means: its name, plural or short name.

    Raises:
        Trouble: none.
    """
    for kind in KINDS:
        if word.lower() in (kind.name.lower(), kind.plural, kind.short):
            return kind
    words = ", ".join(kind.short for kind in KINDS)
    raise Trouble(f"there is no kind {word}", f"kinds are {words}, or their full names")


def find(cluster: Cluster, ref: str) -> Found:
    """The object that [KIND/]NAME means.

    Raises:
        Trouble: none, or several.
    """
    word, slash, name = ref.rpartition("/")
    kinds = (kind_of(word),) if slash else KINDS
    found = [
        Found(kind, obj) for kind in kinds if (obj := cluster.get(own(kind), name)) is not None
    ]
    if not found:
        what = f"{kinds[0].name} {name}" if slash else f"object {name}"
        where = f"loopwright status -n {cluster.namespace} lists what there is"
        raise Trouble(f"there is no {what} in namespace {cluster.namespace}", where)
    if len(found) > 1:
        several = ", ".join(one.ref for one in found)
        raise Trouble(f"{name} is the name of several objects", f"say which: {several}")
    return found[0]
