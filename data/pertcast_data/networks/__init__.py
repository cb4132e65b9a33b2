"""Networks of genes from files that users have: edge lists, and what is read of them."""
