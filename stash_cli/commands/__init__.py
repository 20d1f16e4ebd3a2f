"""What the verbs do that are not hot: one function a verb, named in the table."""
