"""Run one benchmark and print its rows: `python -m infra.bench NAME [--json] [--quick] [--plot FILE.png]`."""

import argparse
import ast
import importlib
import importlib.util
import json
import pkgutil
import sys
from pathlib import Path

import infra.bench
from infra.bench.report import Options, Row
from infra.local.emulator import NotInstalled

FRAME = {"__main__", "report"}


def names() -> list[str]:
    """Return the benchmarks of this package: its modules with a `run`, found by name alone."""
    return sorted(
        module.name
        for module in pkgutil.iter_modules(infra.bench.__path__)
        if module.name not in FRAME and not module.name.startswith("_")
    )


def _promise(name: str) -> str:
    """Return the first line of a benchmark's docstring, without running what it imports."""
    source = Path(infra.bench.__path__[0], f"{name}.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def main() -> int:
    """Run the named benchmark; the exit status says whether it ran, not whether its bars hold."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.bench",
        description=__doc__,
        epilog="\n".join(f"{name:10}{_promise(name)}" for name in names()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=names(), metavar="NAME", help="one of those below")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under a minute")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw how the cost grows")
    asked = parser.parse_args()
    if asked.plot is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs the extra [bench]: pip install -e '.[bench]'")
    if asked.plot is not None and not asked.plot.resolve().parent.is_dir():
        parser.error(f"--plot {asked.plot}: there is no such folder")
    module = importlib.import_module(f"infra.bench.{asked.name}")
    rows: list[Row] = []
    if not asked.json:
        print(f"{asked.name}{' (quick: smaller sizes than the bars name)' if asked.quick else ''}", flush=True)
    try:
        for row in module.run(Options(quick=asked.quick, plot=asked.plot)):
            rows.append(row)
            if not asked.json:
                print(row.as_text(), flush=True)
    except NotInstalled as error:
        parser.error(str(error))
    if asked.json:
        print(json.dumps({"bench": asked.name, "rows": [row.as_json(asked.name) for row in rows]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
