"""The recipe: reading `recipe.toml`, and fitting it to a model."""
