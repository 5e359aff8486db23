"""Manifests against the schemas of Kubernetes and of the operators, strictly: a field that nobody knows is a mistake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator, ValidationError

KUBERNETES = "1.36"

Manifest = Mapping[str, Any]


class Schemas:
    """What is known of every kind."""

    def __init__(self, crds: Iterable[Manifest]) -> None:
        self._validators = {
            (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): Draft202012Validator(
                _strict(version["schema"]["openAPIV3Schema"], root=True)
            )
            for crd in crds
            for version in crd["spec"]["versions"]
        }

    def mistakes(self, manifest: Manifest) -> Iterator[str]:
        """What is wrong with it, a line each."""
        kind = (manifest["apiVersion"], manifest["kind"])
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        if validator := self._validators.get(kind):
            yield from (f"{name}: {_said(error)}" for error in validator.iter_errors(manifest))
            return
        try:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{name}: {manifest['apiVersion']} has no such kind, or its CRD is not among those that are checked"
        except kubernetes_validate.ValidationError as error:
            yield f"{name}: {'.'.join(map(str, error.path))}: {error.message}"


def _strict(schema: Any, *, root: bool = False) -> Any:
    """The schema, refusing fields it does not name; in the way of the API server, which drops them."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(part) for key, part in schema.items()}
    if made.pop("x-kubernetes-int-or-string", False):
        return made | {"type": ["integer", "string"]}
    open_ended = root or "additionalProperties" in made or made.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        made["additionalProperties"] = False
    return made


def _said(error: ValidationError) -> str:
    return f"{'.'.join(map(str, error.absolute_path)) or 'it'}: {error.message}"
