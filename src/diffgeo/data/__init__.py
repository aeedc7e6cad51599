"""Data: the known-factor renderer and own pictures."""
