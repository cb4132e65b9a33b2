"""The paths of the interface, a file a subject; each adds its routes to the FastAPI application."""
