"""What is inside a tar: its entries, a table of them, and points from which a part can be read."""
