"""The format of a bundle: what is written is read, and what is damaged is named."""
