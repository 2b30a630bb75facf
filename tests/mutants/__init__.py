"""Does any test notice when a check of the judgement is broken? `python -m tests.mutants` breaks them one by one."""
