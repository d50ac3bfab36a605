"""The making of the reference model."""
