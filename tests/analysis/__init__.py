"""Statistics and claims."""
