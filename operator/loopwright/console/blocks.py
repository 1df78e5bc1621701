"""What pages consist of; the templates say how it looks, and escape all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import quote, urlencode

from markupsafe import Markup

from loopwright.api.kinds import Kind
from loopwright.view.cluster import KIND_OF, Object
from loopwright.view.words import Tone, tone


@dataclass(frozen=True)
class Tag:
    """A phase or state, in its colour."""

    kind: ClassVar[str] = "tag"
    word: str

    @property
    def tone(self) -> Tone:
        """What it means."""
        return tone(self.word)


@dataclass(frozen=True)
class Link:
    """A way to another page of ours."""

    kind: ClassVar[str] = "link"
    text: str
    href: str


@dataclass(frozen=True)
class Code:
    """A URI or a command, to be copied."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Bar:
    """A share of a whole, with what it means."""

    kind: ClassVar[str] = "bar"
    percent: int
    text: str = ""

    @property
    def full(self) -> int:
        """Within what can be drawn."""
        return max(0, min(100, self.percent))


@dataclass(frozen=True)
class Soft:
    """What is less important."""

    kind: ClassVar[str] = "soft"
    text: str


@dataclass(frozen=True)
class Number:
    """A figure, which is set to the right."""

    kind: ClassVar[str] = "number"
    text: str


@dataclass(frozen=True)
class Several:
    """Cells in one."""

    kind: ClassVar[str] = "several"
    cells: Sequence[Cell]


Cell = str | Tag | Link | Code | Bar | Soft | Number | Several


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    title: str
    rows: Sequence[tuple[str, Cell]]


@dataclass(frozen=True)
class Table:
    """Rows with headings."""

    kind: ClassVar[str] = "table"
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    more: str = ""
    """What is said below."""
    even: str = ""
    """The widest column of a table whose others are as wide as those of tables like it."""
    numbers: frozenset[int] = field(default=frozenset(), init=False)

    def __post_init__(self) -> None:
        width = range(len(self.head))
        found = frozenset(
            place for place in width
            if all(isinstance(row[place], Number) or row[place] == "" for row in self.rows)
        )  # fmt: skip
        object.__setattr__(self, "numbers", found)


@dataclass(frozen=True)
class Picture:
    """A drawing, with what it says in words."""

    kind: ClassVar[str] = "picture"
    title: str
    svg: Markup
    caption: str = ""
    wide: bool = False
    """Whether a narrow screen scrolls it."""


@dataclass(frozen=True)
class Pictures:
    """Small drawings beside each other."""

    kind: ClassVar[str] = "pictures"
    title: str
    shown: Sequence[Picture]


@dataclass(frozen=True)
class Note:
    """Something to know."""

    kind: ClassVar[str] = "note"
    text: str
    tone: Tone = Tone.WAITING
    remedy: str = ""


Block = Facts | Table | Picture | Pictures | Note


def href(kind: Kind, namespace: str, name: str) -> str:
    """The page of an object."""
    return f"/{quote(namespace, safe='')}/{kind.plural}/{quote(name, safe='')}"


def link(kind: str, namespace: str, name: str | None, text: str = "") -> Cell:
    """A way to an object of ours, if it has a name."""
    return Link(text or name, href(KIND_OF[kind], namespace, name)) if name else ""


def listing(plural: str, **query: str) -> str:
    """A list, with filters."""
    given = {key: value for key, value in query.items() if value}
    return f"/{plural}" + (f"?{urlencode(given)}" if given else "")


def namespace_of(obj: Object) -> str:
    """Where an object is."""
    return str(obj["metadata"].get("namespace") or "")


def facts(title: str, *rows: tuple[str, Cell | None]) -> Sequence[Facts]:
    """Those that have a value; none, no block."""
    kept = [(name, value) for name, value in rows if value]
    return [Facts(title, kept)] if kept else []


def table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[Cell]], more: str = "", even: str = ""
) -> Sequence[Table]:
    """A table without columns that are empty in all rows; none without rows."""
    if not rows:
        return []
    kept = [place for place in range(len(head)) if any(row[place] for row in rows)]
    return [
        Table(title, [head[p] for p in kept], [[row[p] for p in kept] for row in rows], more, even)
    ]
