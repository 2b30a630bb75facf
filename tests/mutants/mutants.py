"""All mutants, in the order of the modules: judgement, checks, numbers, reading, acceptance, environment, history."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.of_acceptance import OF_ACCEPTANCE
from tests.mutants.of_checks import OF_CHECKS
from tests.mutants.of_environment import OF_ENVIRONMENT
from tests.mutants.of_history import OF_HISTORY
from tests.mutants.of_judgement import OF_JUDGEMENT
from tests.mutants.of_numbers import OF_NUMBERS
from tests.mutants.of_reading import OF_READING

MUTANTS: tuple[Mutant, ...] = (
    *OF_JUDGEMENT,
    *OF_CHECKS,
    *OF_NUMBERS,
    *OF_READING,
    *OF_ACCEPTANCE,
    *OF_ENVIRONMENT,
    *OF_HISTORY,
)
