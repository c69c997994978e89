"""Features of samples by the frozen network, as rows for fitting a head."""
