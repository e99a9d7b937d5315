"""What ``layercache demo`` stands on: an image made of files that are on any machine, and its registry."""
