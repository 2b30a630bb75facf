"""Real installations into Pythons of their own; they need PyPI, and no torch."""
