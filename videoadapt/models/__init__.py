"""Backbones, adapters, heads, and what is built of them."""
