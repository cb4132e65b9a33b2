"""Finished screens as files: what they hold, whether it is intact, reading it in blocks, searching it."""
