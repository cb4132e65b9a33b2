"""Text tables of profiles: csv, tsv, GEO series matrices, whichever way they are turned."""
