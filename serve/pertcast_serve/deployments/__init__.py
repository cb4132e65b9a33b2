"""The Ray Serve deployments, and the clients that call them."""
