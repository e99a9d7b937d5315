"""Other clients as the source of a layer (``fetch=`` of `Cache.layer`), and its transfers as traces.

One module for each library, which has to be installed: `layercache.adapters.requests`, ``httpx``, ``oras``,
``docker``, ``otel``. The cache hashes what they bring; what they raise becomes a `SourceError`.
"""
