"""The files of a layer and of an image: listed, read and extracted without the rest."""
