"""For ``layercache demo``: an image made of files that every machine has, and a registry that serves it."""
