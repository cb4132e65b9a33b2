"""Ingest on many workers: the same pieces that one process does, dealt by Ray Data."""
