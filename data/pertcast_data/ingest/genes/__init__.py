"""Genes of files that are ingested: their table, namespace, approved names, and which of them are shared."""
