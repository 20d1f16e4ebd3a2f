"""Seeded defects: each a patch that says what it breaks, and which part of the suite must notice."""
