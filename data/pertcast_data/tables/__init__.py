"""Tables of any size by their content: bytes as they are unpacked, text in blocks, tables with a header."""
