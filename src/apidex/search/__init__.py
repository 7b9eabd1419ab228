"""Finding entries. Pure."""
