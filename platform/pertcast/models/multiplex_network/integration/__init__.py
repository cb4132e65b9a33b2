"""Several networks of genes made into one vector a gene, by one of several methods behind one interface."""
