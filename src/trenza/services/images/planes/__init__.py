"""The fast path for ordinary JPEGs: brightness and colour stay the planes they are stored as, from decoder to encoder."""
