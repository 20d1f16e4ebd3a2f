"""The `stash` command."""
