"""How the schema of the history came to be, step by step; alembic brings older databases up to date with it."""
