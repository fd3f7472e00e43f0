"""`/openapi.json`, made from the route table and the bodies' types, so that it cannot drift from either."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.handlers import problems

if TYPE_CHECKING:
    from chalicelib.handlers.calls import Route

REF = "#/components/schemas/{name}"


def document(routes: Sequence["Route"], name: str, origin: str, public_origin: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of the routes."""
    types = {route.takes for route in routes if route.takes} | {
        route.gives for route in routes if isinstance(route.gives, type) and issubclass(route.gives, msgspec.Struct)
    }
    ordered = sorted(types, key=lambda one: one.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=REF)
    by_type = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": "1"},
        "servers": [
            {"url": origin, "description": "callers with a client certificate"},
            {"url": public_origin, "description": "callers without one"},
        ],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM, "TokenError": _TOKEN_ERROR},
            "securitySchemes": {
                "mutualTLS": {"type": "mutualTLS"},
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT bound to the client certificate"},
                "client": {"type": "http", "scheme": "basic"},
            },
        },
    }


_PROBLEM = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "enum": problems.TYPES},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
    "additionalProperties": True,
}

# The token endpoint speaks OAuth (RFC 6749 §4.4, §5.2), not the JSON of the other routes.
_TOKEN_REQUEST = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        "grant_type": {"type": "string", "const": "client_credentials"},
        "scope": {"type": "string", "description": "names separated by spaces; without it all of the client's"},
    },
}
_TOKEN_ERROR = {
    "type": "object",
    "description": "RFC 6749 §5.2",
    "required": ["error", "error_description"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}


_BYTES = {"schema": {"type": "string", "format": "binary"}}


def _operation(route: "Route", by_type: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    security: dict[str, list[dict[str, list[str]]]] = {
        "anyone": [],
        "certificate": [{"mutualTLS": [], "client": []}],
        "token": [{"mutualTLS": [], "token": []}],
        "account": [{"mutualTLS": [], "token": []}],
        "peer": [{"mutualTLS": []}],
        "ds_peer": [{"mutualTLS": []}],
    }
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method}{route.path}").strip("_").lower(),
        "summary": route.summary,
        "security": security[route.caller],
        "responses": {
            str(route.status): {"description": route.summary, **_content(route.gives, by_type)},
            "default": {
                "description": "a refusal",
                "content": {problems.MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}},
            },
        },
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.repeatable:
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}})
    if route.path == "/v1/events":
        parameters.append({"name": "after", "in": "query", "schema": {"type": "string"}})
    if parameters:
        operation["parameters"] = parameters
    if route.takes_bytes:
        operation["requestBody"] = {"required": True, "content": dict.fromkeys(route.takes_bytes, _BYTES)}
    if route.takes is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": by_type[route.takes]}}}
    if route.refused is not None:  # It speaks a protocol of its own, also when it refuses.
        operation["responses"]["default"].update(_content(route.gives, by_type))
    if route.caller == "certificate":
        form = {"application/x-www-form-urlencoded": {"schema": _TOKEN_REQUEST}}
        operation["requestBody"] = {"required": True, "content": form}
        refusal = {"application/json": {"schema": {"$ref": REF.format(name="TokenError")}}}
        operation["responses"]["default"]["content"] = refusal
    if route.scope is not None:
        operation["x-scope"] = route.scope
    return operation


def _content(gives: Any, by_type: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    if gives is None:
        return {}
    if isinstance(gives, str):
        return {"content": {gives: _BYTES}}
    return {"content": {"application/json": {"schema": by_type.get(gives, {"type": "object"})}}}
