"""Model files: what they say of themselves, how they are checked, and the bundled ones."""
