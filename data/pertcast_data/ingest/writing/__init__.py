"""How an ingest is written: tasks that any worker can do, in a folder that survives a kill."""
