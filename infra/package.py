"""`python -m infra.package FOLDER [STAGE …]`: what each stage deploys, as Chalice packages it.

FOLDER/STAGE gets `sam.json` and `deployment.zip`. Chalice writes beside the app that it packages, and keeps what it
downloaded there; so it works on a copy that holds exactly what may be deployed and nothing else. It needs the
package index, for wheels that fit Lambda, and no AWS.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DEPLOYED = (
    "app.py",
    "chalicelib",
    ".chalice/config.json",
    ".chalice/policy-provider.json",
    ".chalice/policy-delivery.json",
    "requirements.txt",
)
CHALICE = "import sys; from chalice.cli import main; sys.exit(main())"


class NotPackaged(Exception):
    """Chalice did not make a whole package; its words come with it."""


def stages() -> list[str]:
    """Return the stages of `.chalice/config.json`."""
    return list(json.loads((REPOSITORY / ".chalice" / "config.json").read_text())["stages"])


def package(names: Sequence[str], folder: Path) -> None:
    """Package stages into folders of their names, or raise `NotPackaged`."""
    with tempfile.TemporaryDirectory(prefix="glados-package-") as copied:
        project = Path(copied)
        for name in DEPLOYED:
            _copy(REPOSITORY / name, project / name)
        for name in names:
            done = subprocess.run(
                [sys.executable, "-c", CHALICE, "package", "--stage", name, str((folder / name).resolve())],
                cwd=project,
                # Chalice wants the name of some region, for the partition that it is in.
                env={"AWS_DEFAULT_REGION": "us-east-1", **os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            # A dependency without a wheel that fits is left out with a word and no error.
            if done.returncode or "Could not install" in done.stdout + done.stderr:
                raise NotPackaged(f"{name}: {done.stdout}{done.stderr}")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        return
    target.parent.mkdir(exist_ok=True)
    shutil.copy(source, target)


def main() -> int:
    """Package as asked and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.package", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the packages go, which is made if need be")
    known = stages()
    parser.add_argument(
        "stage", nargs="*", default=known, help=f"default: all of .chalice/config.json ({', '.join(known)})"
    )
    asked = parser.parse_args()
    if unknown := set(asked.stage) - set(known):
        parser.error(f".chalice/config.json has no stage {', '.join(sorted(unknown))}; it has: {', '.join(known)}")
    try:
        package(asked.stage, asked.folder)
    except NotPackaged as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
