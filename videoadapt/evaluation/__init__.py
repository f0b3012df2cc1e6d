"""From logits of views to accuracies."""
