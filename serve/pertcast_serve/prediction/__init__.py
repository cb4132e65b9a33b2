"""Bundles that answer requests, without HTTP and without Ray."""
