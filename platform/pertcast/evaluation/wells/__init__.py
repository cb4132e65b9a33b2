"""Populations of wells: whether generated wells are distributed as measured ones, for every contender."""
