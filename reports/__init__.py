"""What people and machines read: terminal tables, JUnit, pages, the vendor's table and the history of runs."""

from __future__ import annotations
