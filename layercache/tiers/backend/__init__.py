"""A tier on a backend: one object a blob, a fact, an image, a derived object, under the names of `keys`."""
