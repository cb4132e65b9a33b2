"""The reference of the interface, made of the OpenAPI document."""
