"""Annotations in files of their own, joined to rows and genes; those of LINCS are recognised."""
