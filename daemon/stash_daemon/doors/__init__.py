"""The doors: bytes in, an engine call, bytes out; nothing else."""
