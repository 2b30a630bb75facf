"""Vendors' documents: reads the README with a table, makes a device file of it, compares the two."""

from __future__ import annotations

from expected.documents.compare import differences
from expected.documents.device_file import Given, device_toml
from expected.documents.model import Complaint, Document, DocumentError, Row, Stated
from expected.documents.reading import read_document, read_document_file

__all__ = [
    "Complaint",
    "Document",
    "DocumentError",
    "Given",
    "Row",
    "Stated",
    "device_toml",
    "differences",
    "read_document",
    "read_document_file",
]
