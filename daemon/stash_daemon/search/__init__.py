"""Search: what is kept in memory for it, how hits are ranked, and who makes vectors of texts."""
