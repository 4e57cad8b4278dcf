"""reloader: declarative, lossless hot reload of eBPF pipelines."""

__version__ = "0.1.0"
