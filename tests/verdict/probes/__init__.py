"""Verdicts of the probes."""
