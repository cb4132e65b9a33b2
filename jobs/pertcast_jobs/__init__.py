"""What runs on a cluster: ingest, train, tune, evaluate, screen, submit; and the command line."""
