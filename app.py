"""The Chalice app of one role. It only registers; everything is built in `chalicelib.wiring`."""

import importlib

from chalicelib import config
from chalicelib.handlers.routing import GladosApp

# Module and blueprint; a role imports its own alone.
BLUEPRINTS = {
    "provider": (
        "well_known.door",
        "provider_description.door",
        "token_api.door",
        "client_doors.door",
        "federation_doors.door",
        "provider_jobs.jobs",
    ),
    "delivery": (
        "well_known.door",
        "delivery_description.door",
        "token_api.door",
        "ds_doors.door",
        "ds_account_doors.door",
        "ds_federation_doors.door",
        "qs_doors.door",
        "delivery_jobs.jobs",
    ),
}


def make_app(role: str) -> GladosApp:
    """Return the app of a role; once a process, because registering a blueprint changes it."""
    made = GladosApp(app_name="glados")
    for blueprint in BLUEPRINTS[role]:
        module, _, name = blueprint.partition(".")
        made.register_blueprint(getattr(importlib.import_module(f"chalicelib.handlers.{module}"), name))
    return made


app = make_app(config.read().role)
