"""What a yaml may say, and how it is read; knows no component."""
