"""What people and machines read: the closing table in the terminal and the properties of a JUnit test case."""

from __future__ import annotations

from reports.terminal.comparison import comparison_lines
from reports.terminal.console import Line, run_lines
from reports.terminal.properties import comparison_properties, metric_properties

__all__ = ["Line", "comparison_lines", "comparison_properties", "metric_properties", "run_lines"]
