"""Ray Serve deployments, endpoints, and the server command."""
