"""From a reference to a manifest, a configuration and layers."""
