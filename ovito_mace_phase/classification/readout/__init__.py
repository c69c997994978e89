"""From logits to labels: what is kept of them, priors, confidence, distances."""
