"""Writes the CRDs and the field reference from the models: `python -m loopwright.api.crdgen`.

A CRD takes a structural schema: no references, no unions with null, a bound on everything that a
CEL rule may look at. This turns pydantic's JSON schema into one, the same way every time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

from loopwright.api import names
from loopwright.api.base import ApiModel
from loopwright.api.kinds import KINDS, Kind, Schema

ROOT: Final = Path(__file__).resolve().parents[3]
CRDS: Final = ROOT / "crds"
CHART: Final = ROOT / "charts" / "loopwright-crds" / "templates"
REFERENCE: Final = ROOT / "docs" / "reference"

# Keywords of JSON schema that a structural schema has as well, besides Kubernetes' own.
KEPT: Final = frozenset(
    {
        "type", "format", "description", "enum", "pattern", "default", "required",
        "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
        "minProperties", "maxProperties",
    }
)  # fmt: skip
INT32_MAX: Final = 2**31 - 1
# Helm deletes what a release no longer has; with a CRD all objects of its kind would go.
KEEP: Final = {"helm.sh/resource-policy": "keep"}
NOTE: Final = "# Generated from operator/loopwright/api; change it there and run `make generate`.\n"


def structural(model: type[ApiModel]) -> Schema:
    """A model's structural schema."""
    schema = model.model_json_schema(by_alias=True)
    return _convert(schema, schema.get("$defs", {}))


def _convert(schema: Schema, defs: dict[str, Schema]) -> Schema:
    schema = _flatten(schema, defs)
    out = {
        key: value
        for key, value in schema.items()
        if key in KEPT or key.startswith("x-kubernetes-")
    }
    if out.get("x-kubernetes-int-or-string"):
        out["anyOf"] = schema["anyOf"]
    if "const" in schema:
        out["enum"] = [schema["const"]]
    if "properties" in schema:
        out["properties"] = {
            name: _convert(field, defs) for name, field in sorted(schema["properties"].items())
        }
    if "items" in schema:
        out["items"] = _convert(schema["items"], defs)
    # A structural schema has no patterns of keys: whoever reads such a map checks them.
    values = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
    for value in (value for value in values if isinstance(value, dict)):
        out["additionalProperties"] = _convert(value, defs)
    return _finish(out)


def _flatten(schema: Schema, defs: dict[str, Schema]) -> Schema:
    """Resolves references and unions with null; what stands beside them wins."""
    beside = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
    if "$ref" in schema:
        return {**_flatten(defs[schema["$ref"].rpartition("/")[2]], defs), **beside}
    if "anyOf" in schema and not schema.get("x-kubernetes-int-or-string"):
        [only] = [branch for branch in schema["anyOf"] if branch.get("type") != "null"]
        return {**_flatten(only, defs), **beside}
    return schema


def _finish(out: Schema) -> Schema:
    if out.get("default", ...) is None:
        del out["default"]
    if "default" in out:
        out["default"] = _without_nulls(out["default"])
    if out.get("type") == "integer":
        out["format"] = "int32" if out.get("maximum", INT32_MAX + 1) <= INT32_MAX else "int64"
    if "description" in out:
        out["description"] = " ".join(out["description"].split())
    return out


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind."""
    schema = structural(kind.model)
    schema["properties"]["status"].pop("default", None)
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    schema["x-kubernetes-validations"] = [rule.schema() for rule in kind.rules]
    columns = [
        {"name": name, "type": type_, "jsonPath": path}
        | ({"priority": priority} if priority else {})
        for name, type_, path, priority in kind.columns
    ]
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, **({"scale": kind.scale.schema()} if kind.scale else {})},
        "additionalPrinterColumns": columns,
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{names.GROUP}",
            "labels": {f"{names.GROUP}/crd": "true"},
        },
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": ["ml"],
            },
            "versions": [version],
        },
    }


def reference(crd: Schema) -> str:
    """The field reference in Markdown, from the same schema that the API server enforces."""
    kind = crd["spec"]["names"]["kind"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    lines = [
        f"# {kind} (`{names.API_VERSION}`)", "",
        "Generated from the models; `kubectl explain` says the same.", "",
    ]  # fmt: skip
    for part in ("spec", "status"):
        lines += [f"## {part}", "", "| field | type | default | |", "| --- | --- | --- | --- |"]
        lines += _rows("", schema["properties"][part])
        lines.append("")
    return "\n".join(lines)


def _rows(prefix: str, schema: Schema) -> list[str]:
    rows = []
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        inner = field.get("items", field)
        default = json.dumps(field["default"]) if "default" in field else ""
        if "properties" in inner:
            default = ""  # Its fields say theirs.
        text = field.get("description", "").replace("|", "\\|").replace("<", "&lt;")
        shown = f"`{default}`" if default else ""
        rows.append(f"| `{path}` | {_type(field)} | {shown} | {text} |")
        rows += _rows(f"{path}{'[]' if 'items' in field else ''}.", inner)
    return rows


def _type(field: Schema) -> str:
    if "enum" in field:
        return " \\| ".join(str(value) for value in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "items" in field:
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return "map of strings"
    return str(field.get("format", field["type"]) if field["type"] == "string" else field["type"])


class _Dumper(yaml.SafeDumper):
    """Plain YAML without anchors, so that a diff shows what changed and nothing else."""

    def ignore_aliases(self, data: Any) -> bool:
        """Writes repeated values out each time."""
        return True


def _written(manifest: Schema) -> str:
    return NOTE + yaml.dump(manifest, Dumper=_Dumper, sort_keys=True, width=100, allow_unicode=True)


def template(crd: Schema) -> str:
    """The CRD as a template of its Helm chart, which keeps it when the release is removed."""
    kept = {**crd, "metadata": {**crd["metadata"], "annotations": KEEP}}
    # Descriptions may hold what Helm would take for an action.
    return _written(kept).replace("{{", '{{ "{{" }}')


def main() -> None:
    """Writes all generated files."""
    for folder in (CRDS, CHART, REFERENCE):
        folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        found = crd(kind)
        file = f"{names.GROUP}_{kind.plural}.yaml"
        (CRDS / file).write_text(_written(found))
        (CHART / file).write_text(template(found))
        (REFERENCE / f"{kind.name.lower()}.md").write_text(reference(found))


if __name__ == "__main__":
    main()
