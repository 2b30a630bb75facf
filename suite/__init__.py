"""The product: what is asked of a device, one short file per kind of question."""
