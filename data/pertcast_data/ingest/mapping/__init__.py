"""The mapping file: its rules, the words it may be written in, its schema, and how it is read."""
