"""Every reason and condition that the code gives, found in its syntax trees."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

CODE = Path(__file__).resolve().parents[2] / "operator" / "loopwright"
WORD = re.compile(r"[A-Z][a-z]+(?:[A-Z]+[a-z]*)*")
# What is called with a reason, and as which argument.
TOLD = {
    "Claim": 1, "Blocked": 0, "Outcome": 1, "RunError": 0, "Wait": 0, "Happening": 1, "wrong": 0,
    "Found": 1, "Unseen": 0, "CannotJoin": 0, "CannotServe": 0, "_settled": 0, "_waiting": 0,
    "_reject": 1,
}  # fmt: skip
# Enumerations, and tables whose keys are reasons, that conditions carry on.
ENUMS = {
    "monitor/experiment/verdict.py": "Reason", "drift/rules.py": "Check",
    "api/hyperparametersweep_status.py": "StopReason", "api/registry.py": "Stage",
    "api/trainingjob_status.py": "Phase", "api/monitoring_status.py": "MonitorState",
}  # fmt: skip
TABLES = {"monitor/capturing.py": "_STATES", "monitor/sketches.py": "_PROBLEMS"}
# Where conditions are decided.
DECIDING = ("decide", "reconcile")
# What no condition carries: reasons of the API client, which are for logs and metrics; a server's
# that is nobody's fault; verdicts of experiments, which are told in other words; and a constant
# that is no reason but has the name of one.
INNER = {
    "ApiError", "ApiUnavailable", "Conflict", "NotFound", "NotBatchable", "TreatmentBetter",
    "ControlStays", "EffectTooSmall", "TimeIsUp", "Done",
}  # fmt: skip


# Those who show things tell of reasons; they have none of their own.
SHOWING = {"cli", "console", "view"}


@functools.cache
def trees() -> dict[str, ast.Module]:
    """The modules that reasons may come from."""
    files = (path for path in sorted(CODE.rglob("*.py")) if path.parent.name not in SHOWING)
    return {path.relative_to(CODE).as_posix(): ast.parse(path.read_text()) for path in files}


@functools.cache
def constants() -> dict[str, set[str]]:
    """Words that modules and enumerations have names for."""
    found: dict[str, set[str]] = {}
    for tree in trees().values():
        for node in ast.walk(tree):
            name = target(node)
            value = getattr(node, "value", None)
            said = value.value if isinstance(value, ast.Constant) else None
            if name and isinstance(said, str) and re.fullmatch(WORD.pattern + "(OK)?", said):
                found.setdefault(name, set()).add(said)
    return found


def target(node: ast.AST) -> str:
    """The name that an assignment gives something."""
    if isinstance(node, ast.Assign):
        node = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        node = node.target
    else:
        return ""
    return node.id if isinstance(node, ast.Name) else ""


def words(node: ast.AST | None) -> Iterator[str]:
    """The reasons that an expression may stand for."""
    match node:
        case ast.Constant(value=str(value)):
            yield value
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield from constants().get(name, ())
        case ast.IfExp(body=left, orelse=right):
            yield from words(left)
            yield from words(right)
        case ast.BoolOp(values=values):
            for one in values:
                yield from words(one)


def of_call(node: ast.Call) -> Iterator[str]:
    called = getattr(node.func, "id", getattr(node.func, "attr", ""))
    place = TOLD.get(called)
    if place is not None and len(node.args) > place:
        yield from words(node.args[place])
    for keyword in node.keywords:
        if keyword.arg == "reason":
            yield from words(keyword.value)


def of_node(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield from of_call(node)
    elif isinstance(node, ast.Assign):
        names = {one.id for t in node.targets for one in ast.walk(t) if isinstance(one, ast.Name)}
        several = isinstance(node.value, ast.Tuple) and node.value.elts
        if names & {"reason", "word"}:
            yield from words(several[0] if several else node.value)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "reason":
                yield from words(value)


def reasons() -> set[str]:
    """All reasons of conditions, of attempts and of Events."""
    found = {word for tree in trees().values() for node in ast.walk(tree) for word in of_node(node)}
    for file, name in ENUMS.items():
        [one] = [n for n in trees()[file].body if isinstance(n, ast.ClassDef) and n.name == name]
        found |= {word for node in one.body for word in words(getattr(node, "value", None))}
    for file, name in TABLES.items():
        [table] = [node.value for node in trees()[file].body if target(node) == name]
        found |= {word for key in table.keys for word in words(key)}
    return {word for word in found if WORD.fullmatch(word)} - INNER


def conditions() -> set[str]:
    """All types of conditions: the keys of claims."""
    found = set()
    for file, tree in trees().items():
        if file.partition("/")[0] not in DECIDING:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and "Claim" in ast.unparse(node.returns or tree):
                found |= set(keys(node))
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith(
                ("claims[", "found[")
            ):
                found |= set(words(node.targets[0].slice))  # type: ignore[attr-defined]
            if target(node) in ("CONDITION", "ENDS", "CONDITIONS"):
                found |= set(named(node.value))  # type: ignore[attr-defined]
    return {word for word in found if re.fullmatch(WORD.pattern + "(OK)?", word)}


def named(value: ast.AST) -> Iterator[str]:
    if isinstance(value, ast.Dict):
        texts = [one for one in (*value.keys, *value.values) if isinstance(one, ast.Constant)]
        found = [str(one.value) for one in texts]
        # Conditions by the kind of monitor, or the reasons that each condition has.
        yield from found[len(value.keys) :] or found
    else:
        yield from words(value)


def keys(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        for key in node.keys if isinstance(node, ast.Dict) else ():
            yield from words(key)
