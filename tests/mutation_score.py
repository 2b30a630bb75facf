"""`python -m tests.mutation_score 0.1`: exit code 1 where more than that share of the mutants that were tried lived."""

from __future__ import annotations

import json
import sys
from pathlib import Path

STATS = Path("mutants/mutmut-cicd-stats.json")


def main(most: float) -> int:
    """Print how many mutants survived, of all that were tried, and return the exit code."""
    stats = json.loads(STATS.read_text(encoding="utf-8"))
    noticed = stats["killed"] + stats["timeout"] + stats["segfault"]
    survived = stats["survived"] + stats["no_tests"] + stats["suspicious"]
    tried = noticed + survived
    print(f"{survived} of {tried} mutants survived; at most {most:.0%} may")
    return int(tried == 0 or survived > most * tried)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
