"""Which route of a Chalice application serves a path, as API Gateway decides it."""

from collections.abc import Iterable


class RouteTable:
    """Finds routes by path; a literal segment is preferred to a parameter, from left to right."""

    def __init__(self, routes: Iterable[str]) -> None:
        self._literal: dict[str, str] = {}
        self._by_length: dict[int, list[tuple[str, list[str]]]] = {}
        for route in routes:
            if "{" not in route:
                self._literal[route] = route
                continue
            segments = route.split("/")
            self._by_length.setdefault(len(segments), []).append((route, segments))
        for candidates in self._by_length.values():
            candidates.sort(key=lambda candidate: [_is_parameter(segment) for segment in candidate[1]])

    def match(self, path: str) -> tuple[str, dict[str, str]] | None:
        """Return the route and its parameters, still percent-encoded, or None.

        A trailing slash is ignored, and a parameter is never empty.
        """
        if len(path) > 1 and path.endswith("/"):
            path = path[:-1]
        literal = self._literal.get(path)
        if literal is not None:
            return literal, {}
        parts = path.split("/")
        for route, segments in self._by_length.get(len(parts), ()):
            parameters: dict[str, str] = {}
            for segment, part in zip(segments, parts, strict=True):
                if _is_parameter(segment):
                    if not part:
                        break
                    parameters[segment[1:-1]] = part
                elif segment != part:
                    break
            else:
                return route, parameters
        return None


def _is_parameter(segment: str) -> bool:
    return segment.startswith("{") and segment.endswith("}")
