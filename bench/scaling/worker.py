"""Runs scenarios against one release, in a process that imports that release: reads them from stdin, writes results.

Nothing here imports other parts of the project, which are of today and may need today's ``giftcards``.
"""

import json
import sys
import time
from pathlib import Path

from scaling.scenarios import Scenario, run


def main() -> None:
    """Run what stdin asks for; one line of JSON for each scenario."""
    task = json.loads(sys.stdin.read())
    for scenario in task["scenarios"]:
        began = time.perf_counter()
        measured = run(Scenario(**scenario), task["variant"], Path(task["code"]), task["perMillion"])
        print(json.dumps(measured | {"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
