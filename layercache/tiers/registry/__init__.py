"""A registry as a tier: what is kept there, and how."""
