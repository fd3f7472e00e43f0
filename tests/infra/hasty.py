"""A delivery service that gives up what a dead worker held after seconds instead of minutes.

A worker that is killed keeps its lease until that runs out, so a history with deaths in it would wait minutes at each.
`infra.local.stage` serves this `app` as it serves the other; only these numbers differ.
"""

import importlib

from app import app

__all__ = ["app"]

SECOND = 1_000
LEASE, WORK, MINUTE = 4 * SECOND, 2 * SECOND, 4 * SECOND
HASTE = {
    "account_desk": {"LEASE": LEASE, "WORK": WORK, "TURN": SECOND, "MINUTE": MINUTE},
    "fanout": {"LEASE": LEASE, "WORK": WORK},
    "sweeping": {"MINUTE": MINUTE},
}

for _name, _constants in HASTE.items():
    _module = importlib.import_module(f"chalicelib.services.delivery.{_name}")
    for _constant, _value in _constants.items():
        if not hasattr(_module, _constant):
            raise AttributeError(f"{_name}.{_constant} has another name now")
        setattr(_module, _constant, _value)
