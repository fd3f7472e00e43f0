"""What every JSON body is, whichever role takes or gives it; `/openapi.json` is made from their types."""

import msgspec


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A body as a caller sends it: no field but these."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A body as we send it; later versions may add fields."""
