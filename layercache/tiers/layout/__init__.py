"""A cache as an OCI image layout: its index.json for other tools, and layouts that other tools made."""
