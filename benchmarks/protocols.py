"""The baselines, the truth and the model of the package by each protocol that needs no data set.

    python benchmarks/protocols.py FOLDER

Results go to benchmarks/results/protocols.json.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import command_of

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.cli import main as lightning_colorize
from lightning_colorize.evaluation.protocol_result import ProtocolResult

RESULT = Path(__file__).parent / "results" / "protocols.json"
PROTOCOLS = ("native", "crop256", "stretch256")


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of color images, with a test split")
    args = parser.parse_args()
    report: dict[str, Any] = {"folder": args.folder.name, "protocols": {}}
    with tempfile.TemporaryDirectory() as temporary:
        for name in PROTOCOLS:
            file = Path(temporary) / f"{name}.json"
            words = ["--data", str(args.folder), "--split", "test", "--json", str(file)]
            if lightning_colorize(["protocol", name, "default", *words]):
                raise SystemExit(f"protocol {name} failed")
            report["protocols"][name] = ProtocolResult.read(file).model_dump()
    write_report(RESULT, command_of("protocols", sys.argv[1:]), report)


if __name__ == "__main__":
    main()
