"""Weight files: tensors and names, no modules."""
