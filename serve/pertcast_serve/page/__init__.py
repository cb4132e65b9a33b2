"""The page at /ui: HTML made on the server, figures of `pertcast.report`, no request to anywhere else."""
