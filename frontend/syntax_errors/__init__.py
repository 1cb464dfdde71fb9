"""What is said about lines that are not in the language."""
