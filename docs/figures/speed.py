"""Draw speed.png from speed.json: what `ovito-mace-phase bench --json` wrote, several runs one after the other.

    ovito-mace-phase bench --frames cu --sizes 20000,4000,1000 --json a.json
    ovito-mace-phase bench --frames cu,nacl,ice --sizes 100000 --backends engine,score,ptm,cna --turns 2 --json b.json
    ovito-mace-phase bench --frames nacl,ice --sizes 1000 --json c.json
    python docs/figures/speed.py a.json b.json c.json

Without arguments it draws speed.json again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ovito_mace_phase.lab.evaluation.figures import plot_speed

HERE = Path(__file__).parent


def main(files: list[str]) -> None:
    """Join the runs, keep them beside the picture, draw."""
    if files:
        runs = [json.loads(Path(name).read_text(encoding="utf-8")) for name in files]
        joined = {"machine": runs[0]["machine"], "rows": [row for run in runs for row in run["rows"]]}
        (HERE / "speed.json").write_text(json.dumps(joined, indent=1) + "\n", encoding="utf-8")
    found = json.loads((HERE / "speed.json").read_text(encoding="utf-8"))
    machine = found["machine"]
    subtitle = f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}, one process"
    plot_speed(HERE / "speed.png", found["rows"], subtitle)


if __name__ == "__main__":
    main(sys.argv[1:])
