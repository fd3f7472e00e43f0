"""The Chalice app of one role. It only registers; everything is built in `chalicelib.wiring`."""

from chalicelib import config
from chalicelib.handlers import client_doors, federation_doors, provider_jobs, token_api, well_known
from chalicelib.handlers.routing import GladosApp

BLUEPRINTS = {
    "provider": (
        well_known.door,
        token_api.door,
        client_doors.door,
        federation_doors.door,
        provider_jobs.jobs,
    ),
}


def make_app(role: str) -> GladosApp:
    """Return the app of a role; once a process, because registering a blueprint changes it."""
    made = GladosApp(app_name="glados")
    for blueprint in BLUEPRINTS[role]:
        made.register_blueprint(blueprint)
    return made


app = make_app(config.read().role)
