"""Screens that run as submitted jobs: a folder each, whose files are the only state."""
