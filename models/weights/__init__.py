"""Weight files: where they are, whether they can be used, and how they are loaded."""
