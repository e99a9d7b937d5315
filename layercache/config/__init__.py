"""The configuration: arguments, environment variables, configuration files, defaults. Opens caches.

This is the only package that reads the environment and configuration files. `opening` has what others call;
`environment` alone is imported by what never opens a cache.
"""
