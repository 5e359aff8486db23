"""The checker finds what it is there to find."""

from __future__ import annotations

from typing import Any

import pytest

from .schemas import Schemas

CRD = {
    "spec": {
        "group": "example.com",
        "names": {"kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"type": "integer"},
                                    "port": {"x-kubernetes-int-or-string": True},
                                    "free": {
                                        "type": "object",
                                        "properties": {"a": {"type": "string"}},
                                        "x-kubernetes-preserve-unknown-fields": True,
                                    },
                                },
                            }
                        },
                    }
                },
            }
        ],
    }
}


def thing(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": spec}


def config(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, **fields}


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (thing(size=1, port="http", free={"anything": 1}), None),
        (thing(size=1, port=80), None),
        (thing(), "Thing one: spec: 'size' is a required property"),
        (thing(size="1"), "Thing one: spec.size: '1' is not of type 'integer'"),
        (thing(size=1, colour="red"), "'colour' was unexpected"),
        ({**thing(size=1), "apiVersion": "example.com/v2"}, "Thing one: example.com/v2 has no such kind"),
        (config(data={"a": "b"}), None),
        (config(data={"a": 1}), "ConfigMap c: data.a: 1 is not of type 'string'"),
        (config(dates={}), "'dates' was unexpected"),
    ],
)
def test_mistakes_are_found(manifest: dict[str, Any], says: str | None) -> None:
    found = list(Schemas([CRD]).mistakes(manifest))
    assert len(found) == (says is not None), found
    assert says is None or says in found[0]
