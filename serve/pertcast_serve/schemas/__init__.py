"""What endpoints take and give, as typed models; they make the OpenAPI document."""
