"""File systems for fsspec: by ``image://`` and ``layer://`` pandas, pyarrow, dask and others read files.

fsspec imports them when a URL asks for them: it knows them by entry points of the group ``fsspec.specs``.
Nothing else of layercache imports them, so that fsspec stays optional.
"""
