"""Whether ln IC50 or AUC can be predicted from generated expression, beside what else could predict it."""
