"""Whether features made of networks find edges that were held out of them, beside what neighbours tell."""
