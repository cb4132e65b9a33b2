"""Names of genes: how they are compared, and what they mean by a user's table (HGNC, NCBI, Ensembl)."""
