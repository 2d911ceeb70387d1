"""Runs scenarios against one release, in a process that imports that release: reads them from stdin, writes results."""

import json
import sys
import time
from pathlib import Path

from giftcards_cli.costs import Prices
from scaling.scenarios import Scenario, run


def main() -> None:
    """Run what stdin asks for; one line of JSON for each scenario."""
    task = json.loads(sys.stdin.read())
    prices = Prices.model_validate(task["prices"])
    for scenario in task["scenarios"]:
        began = time.perf_counter()
        measured = run(Scenario(**scenario), task["variant"], Path(task["code"]), prices)
        print(json.dumps(measured | {"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
