"""Parts that several models are built from: scaling, encoding of conditions, residual trunk."""
