"""The Connectivity Map's own files: GCT and GCTX."""
