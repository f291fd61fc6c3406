"""Tests mirror ``src``; ``stories`` plays the product's user stories with real processes."""
