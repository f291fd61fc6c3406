"""Measures the server side by side with floors and peers: ``python -m benchmarks``, see README.md."""
