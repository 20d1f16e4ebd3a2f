"""The daemon: it alone owns the database, and means what every operation means."""
