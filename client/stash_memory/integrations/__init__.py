"""Doors to other people's frameworks, a module each; every one imports its framework, which an extra installs."""
